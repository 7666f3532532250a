"""Timestep fingerprints of three real tasks, next to two feed-forward twins.

Question: how much does the image tell about the mask at each noise level, and does diffusion pay?
Diffusion uses DDPM's linear schedule, which covers the widest range of λ, with three seeds. It is
probed in 16 strata with the image, without it and with the image of another case. The twins are the
same network in one pass: trained as usual, and trained with cross-entropy alone and tested with
eight passes over the symmetries of the square. The minimum of cross-entropy is the posterior mean,
which the diffusion network must reach at the noisy end: `left_edge` in the view `information` tests
this.

Cost: about 15 minutes on 2 CPU cores (36 trials).

Expected: the fingerprints of the tasks have different shapes. Their bits per pixel differ by an
order of magnitude, with the brain highest, and half of the bits lie at log-SNR between 0 and −2.
The loss over t is not monotone. Diffusion has a lower Dice than its twins and is no better
calibrated.
"""

from search_spaces import Each, Space

SPACE = Space(
    question="How much does the image tell about the mask at each noise level, and does it pay?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "train": {"steps": 200, "batch": 8, "learning_rate": 2e-3, "validate_every": 50},
        "probe": {"bins": 16, "draws": 2, "controls": ["shuffled_image"]},
        "test": {"unit": "tiles", "controls": ["shuffled_image"]},
    },
    arms={
        "grey_level": {
            "model": {"intensity": {"levels": 64}},
            "mode": {"feedforward": {}},
            "train.steps": 0,
        },
        "feedforward": {"mode": {"feedforward": {}}},
        "cross_entropy_8": {"mode": {"feedforward": {"dice_weight": 0.0, "members": 8}}},
        "diffusion": {
            "mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}, "members": 2}},
        },
    },
    replicates=3,
)

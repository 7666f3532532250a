"""What the image tells about the mask at each noise level, on three real tasks, beside two twins.

Diffusion under DDPM's linear schedule, whose range of λ is the widest, three seeds each, probed in
16 strata with the image, without it and with another case's. Beside it the same network in one
pass: as it is usually trained, and with cross-entropy alone and as many passes as diffusion takes,
its views the symmetries of the square. Cross-entropy's minimum is the posterior mean, which the
diffusion network must reach at the noisy end: `left_edge` in the view `information` tests that.

Cost: about 15 minutes on 2 CPU cores (36 trials). Expect fingerprints of three shapes: bits per
pixel an order of magnitude apart, brain ahead; half of them at log-SNR between 0 and −2; a loss
over t that is not monotone; and diffusion behind its twins in Dice, calibrated no better.
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
        "test": {"controls": ["shuffled_image"]},
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

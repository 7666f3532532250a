"""The evidence of the noisy pixel, in training and in sampling, on six tasks of the atlas.

Question: should the log-odds of a pixel's own noisy value be added to the logits in closed form?
In training it leaves the network the information of the image and of the other pixels, which
fingerprints measure. In sampling the noisy mask is the network's own guess, so the evidence keeps
its errors. `both` adds it in both, `training` in training only (the default), `neither` nowhere:
`both` and `training` read the same weights, which are those of `atlas`. A mask takes 4 passes
(`4`), or 16: four samples of 4 passes (`4x4`), or one sample of 16, deterministic (`16`) or
ancestral (`ddpm_16`).

Cost: about 45 minutes on one CPU core (156 trials, which read 36 trainings, 24 of them of `atlas`).

Expected: one sample of `both` has the lowest Dice and the highest ECE, and more samples help it
most. `training` is at least as good as `neither`.
"""

from search_spaces import Each, Space

TRAINING = {
    "both": {"mode.diffusion.sample_evidence": True},
    "training": {},
    "neither": {"mode.diffusion.evidence": False},
}
READINGS = {
    "4": {"mode.diffusion.sampler": {"ddim": {"steps": 4}}},
    "4x4": {"mode.diffusion.sampler": {"ddim": {"steps": 4}}, "mode.diffusion.members": 4},
    "16": {"mode.diffusion.sampler": {"ddim": {"steps": 16}}},
    "ddpm_16": {"mode.diffusion.sampler": {"ddpm": {"steps": 16}}},
}

SPACE = Space(
    question="Should diffusion use the evidence of the noisy pixel, in training and in sampling?",
    config={
        "task": Each("nuclei", "histology", "brain", "cho", "ecoli", "nuclei_stack"),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {}},
        "train": {"steps": 200, "batch": 4, "learning_rate": 2e-3, "validate_every": 100},
        "test": {"unit": "tiles", "pictures": 0},
        "probe": {"bins": 0},
    },
    arms={
        f"{training}_{reading}": {**fields, **more}
        for training, fields in TRAINING.items()
        for reading, more in READINGS.items()
    }
    | {"twin": {"mode": "feedforward"}},
    replicates=2,
)

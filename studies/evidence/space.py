"""The evidence of the noisy pixel, in training and in sampling, on seven tasks.

Question: should the log-odds of a pixel's own noisy value be added to the logits in closed form?
In training it leaves the network the information of the image and of the other pixels, which
fingerprints measure. In sampling the noisy mask is the network's own guess, so the evidence keeps
its errors. `both` adds it in both, `training` in training only, `neither` nowhere: `both` and
`training` read the same weights. Arms of equal passes are compared.

Cost: about 5 hours on 2 CPU cores (315 trials, which read 63 trainings).

Expected: one sample of `both` has the lowest Dice and the highest ECE, and more members or steps
help it most. `training` is at least as good as `neither`.
"""

from search_spaces import Each, Space

TRAINING = {
    "both": {},
    "training": {"mode.diffusion.sample_evidence": False},
    "neither": {"mode.diffusion.evidence": False},
}
READINGS = {
    "ddim_10": {"mode.diffusion.sampler": {"ddim": {"steps": 10}}},
    "ddim_10_4_members": {
        "mode.diffusion.sampler": {"ddim": {"steps": 10}},
        "mode.diffusion.members": 4,
    },
    "ddim_4": {"mode.diffusion.sampler": {"ddim": {"steps": 4}}},
    "ddim_50": {"mode.diffusion.sampler": {"ddim": {"steps": 50}}},
    "ddpm_10": {"mode.diffusion.sampler": {"ddpm": {"steps": 10}}},
}

SPACE = Space(
    question="Should diffusion use the evidence of the noisy pixel, in training and in sampling?",
    config={
        "task": Each("nuclei", "histology", "brain", "hela", "cho", "ecoli", "nuclei_stack"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"evidence": True, "sample_evidence": True}},
        "train": {"steps": 300, "batch": 8, "learning_rate": 2e-3, "validate_every": 50},
        "test": {"unit": "tiles"},
        "probe": {"bins": 0},
    },
    arms={
        f"{training}_{reading}": {**fields, **more}
        for training, fields in TRAINING.items()
        for reading, more in READINGS.items()
    }
    | {"twin": {"mode": "feedforward"}},
    replicates=3,
)

"""The comparison of the source study: three diffusion networks and their twins on three tasks.

Question: does diffusion pay for its passes, in three architectures on three tasks? EnsemDiff,
SegDiff and MedSegDiff are trained as `diffusion` and as `feedforward` (the same module, with an
empty mask and time zero) with two seeds. The baselines are the majority mask and the grey level
alone. The design is that of Öttl et al. (arXiv 2403.14440) at a size for two CPU cores; for that of
the paper, raise channels, steps, image size and data in a copy of this file.

Cost: about 25 minutes on 2 CPU cores (48 trials, 12 of them without training).

Expected: the twins have a higher Dice than diffusion after so few steps, with a twelfth of the
passes; the diffusion ensemble is to be judged by its calibration. The tasks are one image, three
images and one average brain, so the study reproduces the paper's design and not its evidence.
"""

from search_spaces import Each, Space

UNET = {"channels": 16, "multipliers": [1, 2, 2, 4], "blocks": 1, "attention": [8]}
DENSE = {"heads": 4, "dense_blocks": 1, "dense_features": 16, "dense_growth": 8}


def baseline(levels: int) -> dict[str, object]:
    """Return an arm without a network: it predicts the most frequent class of each grey level."""
    return {
        "model": {"intensity": {"levels": levels}},
        "mode": {"feedforward": {}},
        "train.steps": 0,
    }


SPACE = Space(
    question="Does diffusion pay for its passes, in three architectures on three tasks?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": Each(
            {"ensemdiff": UNET}, {"segdiff": {**UNET, **DENSE}}, {"medsegdiff_new": UNET}
        ),
        "train": {"steps": 80, "batch": 8, "learning_rate": 2e-3, "validate_every": 40},
        "test": {"unit": "tiles"},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "majority": baseline(levels=1),
        "grey_level": baseline(levels=64),
        "feedforward": {"mode": {"feedforward": {}}},
        "diffusion": {
            "mode": {"diffusion": {"sampler": {"dpm_solver": {"steps": 4}}, "members": 3}}
        },
    },
    replicates=2,
)

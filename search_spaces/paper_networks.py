"""The comparison that started this: three diffusion networks and their twins on three tasks.

EnsemDiff, SegDiff and MedSegDiff, each as `diffusion` and as `feedforward` (the same module, mask
and time zero), with two seeds, beside the baselines: the majority mask and the grey level alone.
The design of Öttl et al. (arXiv 2403.14440) at a size for two CPU cores; for the paper's, raise
channels, steps, size and data in a copy of this file.

Cost: about 25 minutes on 2 CPU cores (48 trials, 12 of them without training). Expect the twins
ahead of diffusion in Dice after so few steps, at a twelfth of the passes; diffusion's ensemble is
to be judged by its calibration. The tasks are one image, three images and one average brain: the
design is the paper's, the evidence is not.
"""

from search_spaces import Each, Space

UNET = {"channels": 16, "multipliers": [1, 2, 2, 4], "blocks": 1, "attention": [8]}
DENSE = {"heads": 4, "dense_blocks": 1, "dense_features": 16, "dense_growth": 8}


def baseline(levels: int) -> dict[str, object]:
    """An arm without a network: the most frequent class of each grey level."""
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

"""Four architectures, each as a diffusion model and as its two feed-forward twins, on three tasks.

The comparison of Öttl et al. (arXiv 2403.14440) at a size for two CPU cores: EnsemDiff, SegDiff
and both MedSegDiffs, as `diffusion`, as `feedforward` (the same module, mask and time zero) and as
`image_only` (no mask channel, no time branch), on fluorescence nuclei, H&E nuclei and brain MR.
MedSegDiff's auxiliary output is itself a feed-forward U-Net: the view `readings` has it apart from
the sample, and the sample of a wrong image beside it.

Cost: about 20 minutes on 2 CPU cores. Expect the twins ahead of diffusion in Dice after so few
steps. Instances (AJI, PQ) are those of 64-pixel tiles, which cut nuclei. The tasks are one image,
three images and one average brain: a check that everything trains, not a ranking.
"""

from search_spaces import Each, Space

UNET = {"channels": 16, "multipliers": [1, 2, 2, 4], "blocks": 1, "attention": [8]}

SPACE = Space(
    question="How do four diffusion segmentation networks compare with their own twins?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": Each(
            {"ensemdiff": UNET},
            {
                "segdiff": {
                    **UNET,
                    "heads": 4,
                    "dense_blocks": 1,
                    "dense_features": 16,
                    "dense_growth": 8,
                }
            },
            {"medsegdiff_v1": {**UNET, "map_size": 64}},
            {"medsegdiff_new": UNET},
        ),
        "train": {"steps": 80, "batch": 8, "learning_rate": 2e-3, "validate_every": 40},
        "test": {"controls": ["shuffled_image"]},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "diffusion": {
            "mode": {"diffusion": {"sampler": {"dpm_solver": {"steps": 4}}, "members": 2}}
        },
        "feedforward": {"mode": {"feedforward": {}}},
        "image_only": {"mode": {"image_only": {}}},
    },
)

"""Four architectures, each as a diffusion model and as its two feed-forward twins, on three tasks.

Question: how do EnsemDiff, SegDiff and the two versions of MedSegDiff compare as `diffusion`, as
`feedforward` (the same module, with an empty mask and time zero) and as `image_only` (without the
mask channel and the time branch)? This is the comparison of Öttl et al. (arXiv 2403.14440) at a
size for two CPU cores, on fluorescence nuclei, H&E nuclei and brain MR. The auxiliary output of
MedSegDiff is a feed-forward U-Net; the view `readings` lists it separately from the sample, next to
the sample for the image of another case.

Cost: about 20 minutes on 2 CPU cores.

Expected: the twins have a higher Dice than diffusion after so few steps. The instance metrics (AJI,
PQ) are those of 64-pixel tiles, whose borders cut nuclei. The tasks are one image, three images and
one average brain: the study shows that everything trains, and is no ranking.
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
        "test": {"unit": "tiles", "controls": ["shuffled_image"]},
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

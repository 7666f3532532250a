"""Three layouts of files in one study: ISIC-like, MoNuSeg-like and HER2-like."""

from search_spaces import Each, Space

SPACE = Space(
    question="Do users' own files train?",
    config={
        "task": Each(
            {"isic16": {"size": 64, "longest": 64}},
            {"monuseg": {"size": 32}},
            {"her2": {"size": 32, "foreground": ["tumour", "stroma"]}},
        ),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}
        },
        "train": {
            "steps": 4,
            "batch": 4,
            "validate_every": 2,
            "foreground": 0.5,
            "augment": {"rotate": 20.0, "scale": 0.3, "colour": 0.1},
        },
        "mode": {"diffusion": {"sampler": {"ddim": {"steps": 2}}}},
        "test": {"unit": "images", "overlap": 0.25},
        "probe": {"bins": 2, "draws": 1},
    },
)

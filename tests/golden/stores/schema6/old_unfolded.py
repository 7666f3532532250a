"""Trials that no driver folded: one of them finished at the second try, one was given up."""

from search_spaces import Space

SPACE = Space(
    question="Are rows read that are in no folded table yet?",
    config={
        "task": {"synthetic": {"size": 8, "cases": 3}},
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}
        },
        "train": {"steps": 10, "batch": 4, "validate_every": 5},
        "test": {"unit": "tiles"},
        "probe": {"bins": 4, "draws": 1},
    },
    arms={
        "feedforward": {"mode": "feedforward"},
        "diffusion": {"mode": {"diffusion": {"sampler": {"ddim": {"steps": 2}}}}},
        "given_up": {"mode": "feedforward", "train.learning_rate": 0.5},
    },
)

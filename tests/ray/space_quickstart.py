"""The quickstart in miniature: the same shape on a synthetic task."""

from search_spaces import Choice, Search, Space, Uniform

SPACE = Space(
    question="Does everything work together?",
    config={
        "task": {"synthetic": {"size": 16, "cases": 4}},
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}
        },
        "train": {"steps": 6, "batch": 4, "validate_every": 2},
        "probe": {"bins": 4, "draws": 1},
    },
    arms={
        "grey_level": {"model": "intensity", "mode": "feedforward", "train.steps": 0},
        "feedforward": {"mode": "feedforward"},
        "diverging": {
            "mode": "feedforward",
            "train.learning_rate": 1e30,
            "train.clip": 1e30,
        },
        "diffusion": {
            "mode": {
                "diffusion": {
                    "schedule": Choice({"linear": {}, "cosine": {"shift": Uniform(-2.0, 1.0)}}),
                    "t_high": Uniform(0.8, 1.0),
                    "sampler": {"ddim": {"steps": 2}},
                }
            }
        },
    },
    search=Search(trials=4, overrides={"train.steps": 4}, rungs=(2,), workers=1),
    workers={"diffusion": 2},
)

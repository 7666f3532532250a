"""A small searched study of one-worker trials, long enough to be killed in the middle."""

from search_spaces import Choice, Search, Space, Uniform

SPACE = Space(
    question="Is anything lost when the driver is killed?",
    config={
        "task": {"synthetic": {"size": 16, "cases": 4}},
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": []}
        },
        "train": {"steps": 60, "batch": 8, "validate_every": 5},
        "probe": {"bins": 4, "draws": 1},
    },
    arms={
        "feedforward": {"mode": "feedforward"},
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
    search=Search(trials=4, overrides={"train.steps": 40}),
    replicates=2,
)

"""Every mode, two readings of one training, a search with a rung, an arm that diverges."""

from search_spaces import Choice, Search, Space, Uniform

UNET = {"channels": 4, "multipliers": [1, 2], "blocks": 1, "attention": []}

SPACE = Space(
    question="Does a store that earlier code wrote stay complete?",
    config={
        "task": {"synthetic": {"size": 8, "cases": 3}},
        "model": {"ensemdiff": UNET},
        "train": {"steps": 20, "batch": 4, "validate_every": 5},
        "test": {"unit": "tiles"},
        "probe": {"bins": 4, "draws": 1},
    },
    arms={
        "grey_level": {"model": "intensity", "mode": "feedforward", "train.steps": 0},
        "feedforward": {"mode": "feedforward"},
        "ensemble": {"mode": {"deep_ensemble": {"networks": 2}}},
        "image_only": {"mode": "image_only"},
        "fixed": {
            "mode": {
                "diffusion": {
                    "sample_evidence": True,
                    "validate_evidence": True,
                    "sampler": {"ddim": {"steps": 2}},
                }
            }
        },
        "reread": {
            "mode": {
                "diffusion": {
                    "sample_evidence": True,
                    "validate_evidence": True,
                    "sampler": {"ddpm": {"steps": 3}},
                    "members": 2,
                }
            }
        },
        "diverging": {"mode": "feedforward", "train.learning_rate": 1e30, "train.clip": 1e30},
        "searched": {
            "mode": {
                "diffusion": {
                    "schedule": Choice({"linear": {}, "cosine": {"shift": Uniform(-2.0, 1.0)}}),
                    "sample_evidence": True,
                    "validate_evidence": True,
                    "t_high": Uniform(0.8, 1.0),
                    "sampler": {"ddim": {"steps": 2}},
                }
            }
        },
    },
    search=Search(trials=2, rungs=(5, 10)),
    replicates=1,
)

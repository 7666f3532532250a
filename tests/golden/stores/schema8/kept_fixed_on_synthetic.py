"""An external test of one arm of ``kept``: readings of kept weights on another task."""

from search_spaces import Space

SPACE = Space(
    question="How does a network of kept segment another task?",
    config={},
    arms={
        "fixed": {
            "task": {"synthetic": {"size": 8, "cases": 3, "discs": 3, "radius": 5.0, "noise": 0.5}},
            "model": {
                "ensemdiff": {
                    "channels": 4,
                    "multipliers": [1, 2],
                    "blocks": 1,
                    "attention": [],
                    "heads": 1,
                    "timesteps": 1000,
                }
            },
            "mode": {
                "diffusion": {
                    "schedule": {
                        "linear": {"beta_first": 0.0001, "beta_last": 0.02, "timesteps": 1000}
                    },
                    "t_low": 0.0,
                    "t_high": 1.0,
                    "encoding": {"onehot": {"scale": 1.0, "offset": 0.0}},
                    "target": "x0",
                    "loss": "cross_entropy",
                    "weight": {"none": {}},
                    "dice_weight": 0.0,
                    "vlb_weight": 1.0,
                    "timesteps": 1000,
                    "evidence": True,
                    "clip": True,
                    "image_dropout": 0.1,
                    "feedforward_share": 0.0,
                    "sampler": {"ddim": {"steps": 2, "spacing": "t", "eta": 0.0}},
                    "members": 1,
                    "start": "noise",
                    "t_start": 1.0,
                    "sample_evidence": False,
                    "validate_evidence": True,
                }
            },
            "train": {
                "steps": 20,
                "batch": 4,
                "accumulate": 1,
                "learning_rate": 0.001,
                "warmup": 0,
                "decay": "none",
                "weight_decay": 0.0,
                "ema": 0.99,
                "clip": 1.0,
                "validate_every": 5,
                "patience": 0,
                "fraction": 1.0,
                "augment": {
                    "flips": True,
                    "rotate": 0.0,
                    "scale": 0.0,
                    "elastic": 0.0,
                    "colour": 0.0,
                },
                "foreground": 0.0,
                "control": "none",
                "precision": "float32",
                "compile": False,
            },
            "test": {
                "unit": "tiles",
                "overlap": 0.5,
                "controls": [],
                "pictures": 2,
                "on": {
                    "synthetic": {"size": 8, "cases": 3, "discs": 3, "radius": 5.0, "noise": 0.8}
                },
                "cases": "all",
                "schema": 0,
            },
            "probe": {"bins": 4, "draws": 1, "controls": [], "t_low": 0.0, "t_high": 1.0},
        }
    },
    read_only=True,
    name="kept_fixed_on_synthetic",
)

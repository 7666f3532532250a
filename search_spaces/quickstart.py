"""Noise schedule and timestep range, searched on three real tasks, next to the feed-forward twin.

Question: which noise schedule and timestep range suit each task, and does diffusion pay? Three real
tasks are installed from the package index: nuclei in fluorescence, in H&E and in confocal. Each has
four arms: two baselines (the majority mask and the grey level alone), the feed-forward twin, and
diffusion, whose noise schedule and timestep range are searched before it is trained in full by two
workers.

Cost: about 8 minutes on 2 CPU cores.

Expected: both networks exceed the majority mask and the grey level on every task. Diffusion has
about the Dice of its twin, in twelve times the passes. One image, three images and one film suffice
for a first look at three fingerprints, not for a claim.
"""

from search_spaces import Choice, Each, Search, Space, Uniform

SPACE = Space(
    question="Which noise schedule and timestep range suit each task, and does diffusion pay?",
    config={
        "task": Each("nuclei", "histology", "cho"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "train": {"steps": 150, "batch": 8, "learning_rate": 2e-3, "validate_every": 30},
        "test": {"unit": "tiles"},
        "probe": {"bins": 12, "draws": 1},
    },
    arms={
        "majority": {
            "model": {"intensity": {"levels": 1}},
            "mode": {"feedforward": {}},
            "train.steps": 0,
        },
        "grey_level": {
            "model": {"intensity": {"levels": 64}},
            "mode": {"feedforward": {}},
            "train.steps": 0,
        },
        "feedforward": {"mode": {"feedforward": {}}},
        "diffusion": {
            "mode": {
                "diffusion": {
                    "schedule": Choice(
                        {
                            "linear": {},
                            "cosine": {"shift": Uniform(-3.0, 1.0)},
                            "sigmoid": {"temperature": Uniform(0.3, 1.5)},
                        }
                    ),
                    "t_low": Uniform(0.0, 0.1),
                    "t_high": Uniform(0.9, 1.0),
                    "sampler": {"ddim": {"steps": 4}},
                    "members": 3,
                }
            }
        },
    },
    search=Search(
        trials=4,
        overrides={
            "train.steps": 36,
            "train.validate_every": 12,
            "mode.diffusion.members": 1,
            "probe.bins": 0,
        },
        rungs=(12, 24),
        workers=1,
    ),
    workers={"diffusion": 2},
)

"""A schedule from one fingerprint, against the best of a search that costs twenty times as much.

Question: does the fingerprint of one training find a schedule for the nuclei that is as good as the
best of a search? `linear` is the training whose fingerprint, of seed 0, gave the schedule of
`adapted`; the device time of that one trial, probe included, is what adapting costs. `searched` is
the best of 48 schedules of seven families, each trained for half of the steps and none stopped by a
comparison with others. The three are then trained alike, with three seeds. The network, its
training and the seeds are those of `atlas`, but all steps are made.

Cost: about an hour and a half on one idle CPU core (57 trials, 48 of them of the search).

Expected: no significant difference between the three, and a search that takes about 20 times as
long as the trial of `linear` with seed 0. An interval around zero shows no equality: it decides the
question only if it also excludes a difference of 0.01 Dice. With three seeds it excludes none for
`adapted`. The view `ablation` has the pairs; the costs are `SELECT arm, stage, index,
device_seconds FROM studies JOIN trials USING (digest)`. There is one image, so the answer holds for
it only.
"""

from search_spaces import Choice, Search, Space, Uniform

SPACE = Space(
    question="Is a schedule from one fingerprint as good as the best of 48 that were searched?",
    config={
        "task": "nuclei",
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {
            "diffusion": {
                "sampler": {"ddim": {"steps": 4}},
                "members": 2,
            }
        },
        "train": {
            "steps": 1600,
            "batch": 4,
            "learning_rate": 2e-3,
            "validate_every": 100,
        },
        "test": {"unit": "tiles", "pictures": 0},
        "probe": {"bins": 0},
    },
    arms={
        "linear": {"probe": {"bins": 8, "draws": 1}},
        "adapted": {
            "mode.diffusion.schedule": {
                "tabulated": {
                    "times": [0.0, 0.0125, 0.025, 0.0401, 0.4187, 0.757, 0.9293, 0.9831, 1.0],
                    "log_snrs": [9.21, 6.794, 4.378, 1.962, -0.454, -2.87, -5.286, -7.702, -10.118],
                }
            }
        },
        "searched": {
            "mode.diffusion.schedule": Choice(
                {
                    "linear": {"beta_last": Uniform(0.01, 0.04)},
                    "cosine": {"shift": Uniform(-3.0, 1.0)},
                    "sigmoid": {"temperature": Uniform(0.3, 1.5)},
                    "polynomial": {"power": Uniform(0.3, 2.0)},
                    "laplace": {"location": Uniform(-2.0, 2.0), "scale": Uniform(0.25, 2.0)},
                    "cauchy": {"location": Uniform(-2.0, 2.0), "scale": Uniform(0.25, 2.0)},
                    "lognormal": {"mean": Uniform(-2.0, 1.0), "std": Uniform(0.6, 2.0)},
                }
            ),
        },
    },
    replicates=3,
    search=Search(
        trials=48,
        overrides={"train.steps": 800, "train.patience": 5},
    ),
)

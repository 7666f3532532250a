"""A search over families of noise schedules and their parameters, next to the default schedule.

Question: which schedule family, parameters and timestep range suit each task best? Optuna chooses
among seven families, each with the parameters that shift its noise, and chooses both ends of the
timestep range, of which at least half remains. A trial that is worse than the best so far, paired
over the validation tiles, is pruned at a third or two thirds of its steps. The best trial of each
task is trained in full and compared with the linear schedule.

Cost: about 12 minutes on 2 CPU cores.

Expected: the search avoids bad choices and finds no clear winner, because with so few steps and
tiles the differences between trials are smaller than those between seeds. Raise `trials` and
`train.steps` together before trusting a choice; `timestep_ranges` and `noise_schedules` answer the
same questions with paired grids.
"""

from search_spaces import Choice, Each, Search, Space, Uniform

SPACE = Space(
    question="Which schedule family, parameters and timestep range suit each task best?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}, "members": 2}},
        "train": {"steps": 120, "batch": 8, "learning_rate": 2e-3, "validate_every": 40},
        "test": {"unit": "tiles"},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "linear": {"mode.diffusion.schedule": "linear"},
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
            "mode.diffusion.t_low": Uniform(0.0, 0.4),
            "mode.diffusion.t_high": Uniform(0.6, 1.0),
        },
    },
    search=Search(
        trials=10,
        overrides={
            "train.steps": 36,
            "train.validate_every": 12,
            "mode.diffusion.members": 1,
            "probe.bins": 0,
        },
        rungs=(12, 24),
        pruner="wilcoxon",
    ),
    constraints=("mode.diffusion.t_high - mode.diffusion.t_low >= 0.5",),
)

"""Three samplers with 2 or 8 steps, and ensembles of one or four members.

Question: what do more sampling steps and more ensemble members improve, and at what cost? All arms
of one task and seed read the weights of one training.

Cost: about 8 minutes on 2 CPU cores (36 trials, which read 3 trainings).

Expected: Dice does not change with the number of steps. More members improve calibration (ECE,
Brier score, GED) rather than Dice. The seconds per image on the leaderboard are proportional to the
passes.
"""

from itertools import product

from search_spaces import Each, Space

SPACE = Space(
    question="What do more sampling steps and more ensemble members buy, and at what cost?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"schedule": "cosine"}},
        "train": {"steps": 600, "batch": 8, "learning_rate": 2e-3, "validate_every": 100},
        "test": {"unit": "tiles"},
        "probe": {"bins": 0},
    },
    arms={
        f"{sampler}_{steps}_steps_{members}_members": {
            "mode.diffusion.sampler": {sampler: {"steps": steps}},
            "mode.diffusion.members": members,
        }
        for sampler, steps, members in product(("ddpm", "ddim", "dpm_solver"), (2, 8), (1, 4))
    },
)

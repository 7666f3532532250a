"""What network passes buy: three samplers, few steps or more, one member or four.

All arms of a task and seed end with the same weights: training draws depend on the seed and the
step only, and there is one validation, at the last step, so nothing is chosen by the sampler. Each
is trained anew all the same, since a config is trained and tested as one.

Cost: about 12 minutes on 2 CPU cores (36 trials), most of it training. Expect Dice flat in the
number of steps, members to pay in calibration (ECE, Brier, GED) rather than in Dice, and the
leaderboard's seconds per image to follow its passes.
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
        "train": {"steps": 60, "batch": 8, "learning_rate": 2e-3, "validate_every": 60},
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

"""Five noise schedules, paired: the same network, data, seeds and crops under each.

A grid, nothing searched: DDPM's linear schedule, the cosine schedule, the cosine moved to more
noise (as is customary for larger images), Laplace around λ = 0, and the window in which λ falls
evenly. On fluorescence nuclei, H&E nuclei and brain MR, two seeds each.

Cost: about 13 minutes on 2 CPU cores (30 trials). Expect, after so little training, DDPM's linear
schedule and the cosine moved to more noise ahead on all three tasks, and Laplace a tenth of Dice
behind them on both kinds of nuclei: `segprint query "SELECT * FROM ablation"` has every pair of
schedules, on the same tiles and seeds. The information that an image adds at a noise level is no
property of the schedule: where the fingerprints of one task differ between schedules, as on brain,
the networks are not the best denoisers yet.
"""

from search_spaces import Each, Space


def under(schedule: object) -> dict[str, object]:
    """An arm: diffusion under one schedule."""
    return {"mode.diffusion.schedule": schedule}


SPACE = Space(
    question="How much does the noise schedule matter for each task?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}, "members": 2}},
        "train": {"steps": 80, "batch": 8, "learning_rate": 2e-3, "validate_every": 40},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "linear": under({"linear": {}}),
        "cosine": under({"cosine": {}}),
        "cosine_noisier": under({"cosine": {"shift": -2.0}}),
        "laplace": under({"laplace": {}}),
        "window": under({"constant_window": {}}),
    },
    replicates=2,
)

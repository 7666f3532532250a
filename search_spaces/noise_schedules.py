"""Five noise schedules, paired: the network, data, seeds and crops are the same under each.

Question: how much does the noise schedule matter for each task? The arms are DDPM's linear
schedule, the cosine schedule, the cosine schedule shifted to more noise (as is usual for larger
images), the Laplace schedule centred at λ = 0, and a window in which λ falls linearly. The space is
a grid without a search, on fluorescence nuclei, H&E nuclei and brain MR, with two seeds.

Cost: about 13 minutes on 2 CPU cores (30 trials).

Expected: after so little training, the linear schedule and the shifted cosine have the highest Dice
on all tasks, and Laplace is about 0.1 lower on both kinds of nuclei. `segprint query "SELECT * FROM
ablation"` lists every pair of schedules over the same tiles and seeds. The information that the
image adds at a noise level does not depend on the schedule: where the fingerprints of one task
differ between schedules, as on the brain, the networks are not the optimal denoisers.
"""

from search_spaces import Each, Space


def under(schedule: object) -> dict[str, object]:
    """Return an arm with one schedule."""
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
        "test": {"unit": "tiles"},
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

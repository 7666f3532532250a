"""Fingerprints of generated masks that differ in prevalence, object size and perimeter.

Question: which traits of a mask determine where in log-SNR the image tells about it? Nine tasks of
one generator have the same image noise: a disc at one of 256 positions, up to sixteen discs in a
grid, and stripes, each in three sizes. There is one diffusion model per task, with two seeds.

Cost: about 6 minutes on 2 CPU cores (18 trials).

Expected: half of the information lies below λ = −0.9 to −3.6, and no trait explains the
differences. Spearman's rank correlation of this λ is −0.3 to −0.45 with foreground share, object
size and perimeter, and 0.15 with the correlation of neighbouring pixels; over nine tasks these may
be chance. `segprint query "SELECT * FROM task_map"` lists all traits.
"""

from search_spaces import Each, Space

SIZES = {"lesion": (0.1, 0.2, 0.3), "nuclei": (0.06, 0.09, 0.12), "stripes": (0.06, 0.12, 0.24)}
TASKS = [
    {"patterns": {"shape": shape, "scale": scale, "size": 32, "cases": 24}}
    for shape in SIZES
    for scale in SIZES[shape]
]

SPACE = Space(
    question="Which traits of a mask go with where in log-SNR the image tells about it?",
    config={
        "task": Each(*TASKS),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}}},
        "train": {"steps": 150, "batch": 8, "learning_rate": 2e-3, "validate_every": 75},
        "test": {"unit": "tiles"},
        "probe": {"bins": 16, "draws": 2},
    },
    arms={"diffusion": {}},
    replicates=2,
)

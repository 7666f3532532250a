"""What of a mask shapes its fingerprint: prevalence, object size, perimeter? On drawn tasks.

Nine tasks of one generator, whose noise is the same: discs at one of 256 places, up to sixteen
discs in a grid, and stripes, each in three sizes. One diffusion model each, two seeds.

Cost: about 6 minutes on 2 CPU cores (18 trials). Expect half of the information below
λ −0.9 to −3.6, and no trait that settles where: Spearman's rank correlation of that λ with the
share of foreground, object size and perimeter is between −0.3 and −0.45, with the correlation of
neighbours 0.15, which over nine tasks may be chance. `segprint query "SELECT * FROM task_map"` has
all of them.
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
        "probe": {"bins": 16, "draws": 2},
    },
    arms={"diffusion": {}},
    replicates=2,
)

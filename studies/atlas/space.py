"""An atlas: the timestep fingerprints of eleven real tasks under one network.

Question: does each task have a fingerprint of its own, what of the mask explains it, and where does
diffusion differ from its twin? One small network is trained on each task as `diffusion` and as
`feedforward`, with three seeds. `segprint report` maps the tasks by the distances of their
fingerprints; the views `distances` and `task_map` have the numbers. Tissue, cell types and
`histology` share their images, and so do the three planes of the brain.

Cost: about two and a half hours on one idle CPU core (66 trials).

Expected: the information per pixel is highest on the brain, and half of it lies at log-SNR between
0 and -1.5 on every task but the tissue map. Nearly all twins and most diffusion networks finish
learning. The Dice of diffusion is below that of the twin on most tasks, by less than 0.03 on all
but the tissue map. Every task has fewer than six groups, so the results hold for these images only.
"""

from search_spaces import Each, Space

SPACE = Space(
    question="Does each of eleven tasks have a timestep fingerprint of its own?",
    config={
        "task": Each(
            "nuclei",
            "histology",
            "brain",
            "hela",
            "cho",
            "ecoli",
            "nuclei_stack",
            "cell_types",
            "tissue",
            {"brain": {"plane": "coronal"}},
            {"brain": {"plane": "sagittal"}},
        ),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "train": {
            "steps": 1600,
            "batch": 4,
            "learning_rate": 2e-3,
            "validate_every": 100,
            "patience": 5,
        },
        "probe": {"bins": 8, "draws": 1},
        "test": {"unit": "tiles", "pictures": 0},
    },
    arms={
        "feedforward": {"mode": {"feedforward": {}}},
        "diffusion": {"mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}, "members": 2}}},
    },
    replicates=3,
)

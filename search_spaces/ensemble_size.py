"""How calibration grows with the ensemble: 1, 2, 4 and 8 members, of diffusion and its twins.

A mean over N samples has N + 1 levels, so ECE changes with N by itself; a diffusion ensemble is
only better calibrated if it is so at the same N as its twin's, whose members see the image in the
symmetries of the square. The feed-forward arms of 2, 4 and 8 members make as many passes as the
diffusion arms of 1, 2 and 4, which take 2 steps a sample: the view `twins` pairs those. So do the
deep ensembles of 2, 4 and 8 networks from independent seeds, at 2, 4 and 8 times the training.

All arms of a family, task and seed end with the same weights (of a deep ensemble the networks of a
smaller one): training draws depend on the seed and the step only, and there is one validation, at
the last step, so nothing is chosen by the ensemble. Each is trained anew all the same, since a
config is trained and tested as one.

Cost: about 18 minutes on 2 CPU cores (33 trials), most of it training. Expect ECE of diffusion to
fall with N, most from 1 to 2, its Dice to gain a little, and the twin to change less in both.
"""

from itertools import product

from search_spaces import Each, Space

FAMILIES: dict[str, dict[str, object]] = {
    "diffusion": {"schedule": "cosine", "sampler": {"ddim": {"steps": 2}}},
    "feedforward": {},
}

SPACE = Space(
    question="How do calibration and accuracy grow with the members of an ensemble?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "train": {"steps": 60, "batch": 8, "learning_rate": 2e-3, "validate_every": 60},
        "probe": {"bins": 0},
    },
    arms={
        f"{mode}_{members}": {"mode": {mode: {**fields, "members": members}}}
        for (mode, fields), members in product(FAMILIES.items(), (1, 2, 4, 8))
    }
    | {f"deep_ensemble_{n}": {"mode": {"deep_ensemble": {"networks": n}}} for n in (2, 4, 8)},
)

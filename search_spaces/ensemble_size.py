"""Ensembles of 1, 2, 4 and 8 members, of diffusion and of its feed-forward twins.

Question: how do calibration and accuracy change with the size of an ensemble? A mean over N samples
has N + 1 levels, so ECE changes with N alone: a diffusion ensemble is better calibrated only if it
is so at the same N as its twin. The members of the twin see the image under the symmetries of the
square. The feed-forward arms of 2, 4 and 8 members make as many passes as the diffusion arms of 1,
2 and 4 members, which take 2 steps per sample, and the view `twins` pairs them. The deep ensembles
of 2, 4 and 8 networks with independent seeds make as many passes as well, at 2, 4 and 8 times the
training.

All arms of one family, task and seed read the weights of one training. A deep ensemble reads as
many as it has networks: the larger one contains the networks of the smaller one, and the first is
the feed-forward twin.

Cost: about 8 minutes on 2 CPU cores (33 trials, which read 27 trainings).

Expected: the ECE of diffusion falls with N, most from 1 to 2, and its Dice rises slightly; the twin
changes less in both.
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
        "test": {"unit": "tiles"},
        "probe": {"bins": 0},
    },
    arms={
        f"{mode}_{members}": {"mode": {mode: {**fields, "members": members}}}
        for (mode, fields), members in product(FAMILIES.items(), (1, 2, 4, 8))
    }
    | {f"deep_ensemble_{n}": {"mode": {"deep_ensemble": {"networks": n}}} for n in (2, 4, 8)},
)

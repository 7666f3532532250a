"""The evidence of the noisy pixel, in training and in sampling, on six tasks.

Question: should the log-odds of a pixel's own noisy value be added to the logits in closed form?
In training it leaves the network the information of the image and of the other pixels, which
fingerprints measure. In sampling the noisy mask is the network's own guess, so the evidence keeps
its errors. `both` adds it in both, `training` in training only, `neither` nowhere: `both` and
`training` read the same weights. `published` predicts the noise with a learned variance and has no
evidence, as in the source study. Arms differ in the sampler, DDIM or DDPM, and in members, whose
mean is the prediction. `both` and `training` are also read with 50 steps and with 16 members of
four steps, which is about as many passes.

The network, the training and the seeds are those of `atlas`, with which `both`, `training` and
`twin` share their trainings.

Cost: about three and a quarter hours on one idle CPU core (270 trials, which read 72 trainings).

Expected: of the arms with the same target, one sample of `both` has the lowest Dice and the highest
ECE; more members help it most, and more steps do not. `training` is as good as `neither`, and
`published` learns least and is still learning at its last step.
"""

from collections.abc import Mapping

from search_spaces import Each, Space

TRAINING = {
    "both": {},
    "training": {"mode.diffusion.sample_evidence": False},
    "neither": {"mode.diffusion.evidence": False},
    "published": {
        "mode.diffusion.target": "eps",
        "mode.diffusion.loss": "hybrid",
        "mode.diffusion.evidence": False,
    },
}
READINGS = {
    "ddim_10": {"sampler": {"ddim": {"steps": 10}}},
    "ddpm_10": {"sampler": {"ddpm": {"steps": 10}}},
    "ddim_4_4_members": {"sampler": {"ddim": {"steps": 4}}, "members": 4},
    "ddim_50": {"sampler": {"ddim": {"steps": 50}}},
    "ddim_4_16_members": {"sampler": {"ddim": {"steps": 4}}, "members": 16},
}
FEW = ("ddim_10", "ddpm_10", "ddim_4_4_members")
READ_OF = {"both": READINGS, "training": READINGS, "neither": FEW, "published": ("ddim_10",)}


def read(training: Mapping[str, object], reading: Mapping[str, object]) -> dict[str, object]:
    """Return the arm that reads a training in one way."""
    return {**training, **{f"mode.diffusion.{field}": value for field, value in reading.items()}}


SPACE = Space(
    question="Should diffusion use the evidence of the noisy pixel, in training and in sampling?",
    config={
        "task": Each("nuclei", "histology", "brain", "hela", "cho", "nuclei_stack"),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"evidence": True, "sample_evidence": True}},
        "train": {
            "steps": 1600,
            "batch": 4,
            "learning_rate": 2e-3,
            "validate_every": 100,
            "patience": 5,
        },
        "test": {"unit": "tiles", "pictures": 0},
        "probe": {"bins": 0},
    },
    arms={
        f"{training}_{reading}": read(TRAINING[training], READINGS[reading])
        for training, readings in READ_OF.items()
        for reading in readings
    }
    | {"twin": {"mode": "feedforward"}},
    baseline="training_ddim_10",
    replicates=3,
)

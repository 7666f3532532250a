"""The source study, whole: diffusion, twins, nnU-Net, SegFormer and what calibrates twins.

The arms of `paper_networks`, which runs without other libraries, and beside them these; what the
two spaces share is trained once. The report answers the study's claims one by one. SegFormer is
MiT-B0 as the library transformers builds it, from random weights (set `model.segformer.pretrained`
to a directory with others, or an id on the hub). `segformer_published` has its published recipe to
the number: AdamW at 6e-5, ten times as much for the head, weight decay 0.01 but for normalisations,
1,500 steps of linear warm-up, polynomial decay of power 1, cross-entropy, no averaged weights. It
is meant for 160,000 steps and is still warming up when this space ends; `segformer` is the same at
ten times the rate, warmed up for 8 steps. Raise `train.steps` in a copy of this file before either
is judged. `nnunet` is nnU-Net itself, with its own plan, trainer and predictor, told two things
beside its schedule: to plan for a GPU of 0.05 GB, where it plans for 8, which makes its patches
about as large as the tiles here, and 6 epochs of 10 steps. Its published recipe is 1,000 epochs of
250 (`train.steps` = 250000, `iterations` = 250, `memory` unsaid): this arm shows that it runs, not
what nnU-Net can do. `unet` are plain U-Nets of as many parameters as each of the three networks,
within 2 %; `views` are the feed-forward twins, their mean over the eight symmetries of the image.
`deep_ensemble` is the mean of three twins from independent seeds, trained one after another in a
trial: as many as the diffusion model has samples, a quarter of its 12 passes, and 3.2 times the
device-seconds of a twin. At equal passes it would be twelve networks, and about an hour more: set
`mode.deep_ensemble.networks` to 12 in a copy. Of all these the view `readings` has `temperature` as
well, the sample at the temperature that fits the validation cases: what calibration costs without
diffusion.

It needs `make baselines` to run, and nothing to be planned.

Cost: about an hour and ten minutes on 2 CPU cores (120 trials). Expect twins and plain U-Nets ahead
of diffusion in Dice, and grey levels alone ahead of all on the brain; `segformer` near the twins
but on the brain, `nnunet` after its 60 steps about where grey levels alone are,
`segformer_published` far behind; a temperature to halve the ECE of the twins' views on histology
and to take away most of the plain U-Nets', and to leave alone what is calibrated already. The
report's verdicts on the study's claims are open: so short a training is no evidence.
"""

from dataclasses import replace

from search_spaces import Each
from search_spaces.paper_networks import SPACE as NETWORKS

RECIPE: dict[str, object] = {
    "model": {"segformer": {}},
    "mode": {"feedforward": {"dice_weight": 0.0}},
    "train.learning_rate": 6e-5,
    "train.weight_decay": 0.01,
    "train.warmup": 1500,
    "train.decay": "linear",
    "train.ema": 0.0,
    "train.clip": 1e9,
}

SIZES = (790_241, 842_289, 807_381)
"""Parameters of the three networks of `paper_networks`, in its order, as feed-forward twins."""

TEMPERED: dict[str, object] = {"test.controls": ["temperature"]}

SPACE = replace(
    NETWORKS,
    question="Does diffusion pay for its passes, against twins, SegFormer and calibrated U-Nets?",
    arms={
        **NETWORKS.arms,
        "views": {"mode": {"feedforward": {"members": 8}}, **TEMPERED},
        "deep_ensemble": {"mode": {"deep_ensemble": {"networks": 3}}, **TEMPERED},
        "unet": {
            "model": Each(*({"unet": {"parameters": size}} for size in SIZES)),
            "mode": {"feedforward": {}},
            **TEMPERED,
        },
        "segformer_published": {**RECIPE, **TEMPERED},
        "nnunet": {
            "model": {"nnunet": {"iterations": 10, "memory": 0.05}},
            "mode": {"feedforward": {}},
            "train": {"steps": 60, "validate_every": 60},
            **TEMPERED,
        },
        "segformer": {**RECIPE, "train.learning_rate": 6e-4, "train.warmup": 8, **TEMPERED},
    },
)

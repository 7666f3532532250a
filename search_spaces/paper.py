"""The source study's arms on three tiny tasks: diffusion, twins, nnU-Net, SegFormer, baselines.

Question: does diffusion pay for its passes, against twins, SegFormer and calibrated U-Nets? The
space adds arms to `paper_networks`; trials that both spaces share are trained once. The report
gives a verdict on each claim of the study. The added arms are:

- `segformer_published`: MiT-B0 as built by the library transformers, with random initial weights
  (set `model.segformer.pretrained` to a directory or an id of the hub for others), and the
  published recipe: AdamW at 6e-5, ten times as much for the head, weight decay 0.01 except for
  normalisation layers, 1,500 steps of linear warm-up, polynomial decay of power 1, cross-entropy,
  no weight averaging. The recipe is meant for 160,000 steps, and warm-up has not ended when this
  space does.
- `segformer`: the same at ten times the learning rate, with a warm-up of 8 steps. Raise
  `train.steps` in a copy of this file before judging either arm.
- `nnunet`: nnU-Net with its own planner, trainer and predictor. Two settings differ from its
  defaults: it plans for a GPU of 0.05 GB instead of 8, so that its patches have about the size of
  the tiles, and it trains for 6 epochs of 10 steps. Its published recipe is 1,000 epochs of 250
  steps (`train.steps` = 250000, `iterations` = 250, `memory` unset): the arm shows that nnU-Net
  runs, not its accuracy.
- `unet`: plain U-Nets, with as many parameters as each of the three networks within 2 %.
- `views`: the feed-forward twins, averaged over the eight symmetries of the image.
- `deep_ensemble`: the mean of three twins with independent seeds, trained one after another in one
  trial. It has as many members as the diffusion model, makes a quarter of its 12 passes, and takes
  3.2 times the device-seconds of a twin. At equal passes it would have twelve networks and take
  about an hour more: set `mode.deep_ensemble.networks` to 12 in a copy.

For all added arms, the view `readings` also lists `temperature`: the sample at the temperature that
fits the validation cases, which is calibration without diffusion.

The study needs `make baselines` to run; `segprint plan` works without.

Cost: about 70 minutes on 2 CPU cores (120 trials).

Expected: twins and plain U-Nets have a higher Dice than diffusion, and the grey level alone has the
highest on the brain. `segformer` is close to the twins except on the brain, `nnunet` after its 60
steps is close to the grey level alone, and `segformer_published` is far lower. Temperature halves
the ECE of `views` on histology, removes most of the ECE of the plain U-Nets, and does not change
arms that are already calibrated. The verdicts on the claims are inconclusive, because the training
is too short.
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
"""The numbers of parameters of the feed-forward twins in `paper_networks`, in its order."""

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

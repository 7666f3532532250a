"""The space `paper`, and SegFormer beside it in the same tables; what the two share runs once.

SegFormer is MiT-B0 as the library transformers builds it, from random weights (set
`model.segformer.pretrained` to a directory with pretrained ones). `segformer_published` has its
published recipe to the number: AdamW at 6e-5, ten times as much for the head, weight decay 0.01
but for normalisations, 1,500 steps of linear warm-up, polynomial decay of power 1, cross-entropy,
no averaged weights. It is meant for 160,000 steps and is still warming up when this space ends;
`segformer` is the same at ten times the rate, warmed up for 8 steps. Raise `train.steps` in a copy
of this file before either is judged.

It needs `pip install 'segprint[baselines]'` to run, and nothing to be planned.

Cost: what `paper` costs and 5 minutes more on 2 CPU cores (12 trials). Expect `segformer` near the
feed-forward twins in Dice, and `segformer_published` far behind for want of steps.
"""

from dataclasses import replace

from search_spaces.paper import SPACE as PAPER

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

SPACE = replace(
    PAPER,
    question="Does diffusion pay for its passes, against its twins and against SegFormer?",
    arms={
        **PAPER.arms,
        "segformer_published": RECIPE,
        "segformer": {**RECIPE, "train.learning_rate": 6e-4, "train.warmup": 8},
    },
)

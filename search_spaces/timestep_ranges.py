"""Parts of the linear schedule, paired: what training without the clean or the noisy end costs.

Seven arms train and sample within [t_low, t_high]: the whole schedule, without its clean tenth and
third, without its noisy tenth and third, and two narrow windows. Where the noisy end is cut off the
sampler starts from noise at `t_high`, though a trace of the mask should be in it: so what an arm
loses tells both that the network never saw pure noise and that the start is a wrong one.

Cost: about 10 minutes on 2 CPU cores (21 trials). Expect the clean end to be worth nothing, for
there the noisy mask tells itself, and Dice to hold until the cut reaches the levels at which the
fingerprint of the task has most of its bits.
"""

from search_spaces import Each, Space


def within(t_low: float, t_high: float) -> dict[str, object]:
    """An arm: a part of the schedule."""
    return {"mode.diffusion.t_low": t_low, "mode.diffusion.t_high": t_high}


SPACE = Space(
    question="Which part of the noise does each task need?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}, "members": 2}},
        "train": {"steps": 80, "batch": 8, "learning_rate": 2e-3, "validate_every": 40},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "whole": within(0.0, 1.0),
        "from_01": within(0.1, 1.0),
        "from_03": within(0.3, 1.0),
        "to_09": within(0.0, 0.9),
        "to_07": within(0.0, 0.7),
        "middle": within(0.2, 0.8),
        "noisy_half": within(0.5, 1.0),
    },
)

"""Parts of the linear schedule, paired: training without the clean end or the noisy end.

Question: which part of the noise does each task need? Seven arms train and sample within [t_low,
t_high]: the whole schedule, the schedule without its cleanest tenth or three tenths, without its
noisiest tenth or three tenths, and two narrower windows. Where the noisy end is removed, the
sampler starts at `t_high` from pure noise, although x_t should still contain a trace of the mask.
The loss of such an arm therefore has two causes: the network never saw pure noise, and the start is
wrong.

Cost: about 10 minutes on 2 CPU cores (21 trials).

Expected: removing the clean end costs nothing, because the noisy mask suffices there. Dice stays
the same until the removed part includes the levels that hold most of the bits of the task's
fingerprint.
"""

from search_spaces import Each, Space


def within(t_low: float, t_high: float) -> dict[str, object]:
    """Return an arm with a part of the schedule."""
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
        "test": {"unit": "tiles"},
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

"""Where the steps of a sampler lie: even in t, even in log-SNR, or at equal image information.

Question: do few steps give better masks where they are spaced by the information of the image? All
arms read the diffusion networks of `atlas`, with 2, 4 or 8 passes and one sample, so nothing is
trained if both studies share a store. The quantiles are those that `segprint adapt atlas` wrote
from the fingerprints of seeds 0 and 1. Fingerprints are measured on the test tiles, which favours
the arms `information` a little.

Cost: about 8 minutes on one CPU core (81 trials, which read 9 trainings of `atlas`).

Expected: the spacing matters at 2 passes and hardly at 8. Steps that are even in log-SNR waste
passes on noise levels at which the mask is already fixed.
"""

from search_spaces import Each, Space

PASSES = (2, 4, 8)
QUANTILES = {
    "nuclei": [
        -10.12,
        -4.81,
        -3.65,
        -2.74,
        -2.33,
        -1.93,
        -1.52,
        -1.12,
        -0.71,
        -0.34,
        -0.0,
        0.33,
        0.66,
        0.99,
        1.32,
        1.65,
        9.21,
    ],
    "histology": [
        -10.12,
        -5.01,
        -4.18,
        -3.35,
        -2.67,
        -2.21,
        -1.75,
        -1.28,
        -0.82,
        -0.38,
        -0.04,
        0.29,
        0.63,
        0.97,
        1.31,
        1.64,
        9.21,
    ],
    "brain": [
        -10.12,
        -4.07,
        -2.82,
        -2.59,
        -2.37,
        -2.14,
        -1.92,
        -1.69,
        -1.47,
        -1.24,
        -1.02,
        -0.79,
        -0.56,
        -0.1,
        0.58,
        1.27,
        9.21,
    ],
}


def sampled(steps: int, **spacing: object) -> dict[str, object]:
    """Return an arm with one sampler."""
    return {"mode.diffusion.sampler": {"ddim": {"steps": steps, **spacing}}}


SPACE = Space(
    question="Do few steps give better masks where they lie at equal image information?",
    config={
        "task": Each(*QUANTILES),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {}},
        "train": {"steps": 200, "batch": 4, "learning_rate": 2e-3, "validate_every": 100},
        "test": {"unit": "tiles", "pictures": 0},
        "probe": {"bins": 0},
    },
    arms={
        **{f"t_{steps}": sampled(steps) for steps in PASSES},
        **{f"log_snr_{steps}": sampled(steps, spacing="log_snr") for steps in PASSES},
        **{
            f"{task}_information_{steps}": {
                "task": task,
                **sampled(steps, spacing="information", quantiles=quantiles),
            }
            for task, quantiles in QUANTILES.items()
            for steps in PASSES
        },
    },
    replicates=3,
)

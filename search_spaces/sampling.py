"""Where the steps of a sampler lie: even in t, even in log-SNR, or at equal image information.

Question: do few steps give better masks where they are spaced by the information of the image? All
arms read the diffusion networks of `atlas`, with 2, 4 or 8 passes and one sample, so nothing is
trained if both studies share a store. The quantiles are those that `segprint adapt atlas` wrote
from the fingerprints of its three seeds. Fingerprints are measured on the test tiles, which favours
the arms `information` a little.

Cost: about 8 minutes on one CPU core (81 trials, which read 9 trainings of `atlas`).

Expected: no significant difference of Dice between the spacings at 2, 4 or 8 passes; steps at equal
information and steps even in t differ by less than 0.01.
"""

from search_spaces import Each, Space

PASSES = (2, 4, 8)
QUANTILES = {
    "nuclei": [
        -10.12,
        -5.13,
        -4.35,
        -3.57,
        -2.83,
        -2.45,
        -2.07,
        -1.68,
        -1.3,
        -0.92,
        -0.54,
        -0.13,
        0.3,
        0.72,
        1.15,
        1.57,
        9.21,
    ],
    "histology": [
        -10.12,
        -4.78,
        -3.68,
        -2.75,
        -2.3,
        -1.85,
        -1.41,
        -0.96,
        -0.51,
        -0.18,
        0.13,
        0.44,
        0.75,
        1.06,
        1.37,
        1.68,
        9.21,
    ],
    "brain": [
        -10.12,
        -4.04,
        -2.8,
        -2.52,
        -2.24,
        -1.96,
        -1.68,
        -1.4,
        -1.12,
        -0.84,
        -0.56,
        -0.19,
        0.24,
        0.67,
        1.1,
        1.53,
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

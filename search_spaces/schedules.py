"""Schedules that are fixed, follow the image's information, or adapt online, at equal steps.

Question: does a network learn more if its noise levels follow the information? `linear`, `cosine`,
`input_scaled` (cosine at half the amplitude) and `sigmoid` are fixed. `adapted` is the schedule
that `segprint adapt` wrote from the task's fingerprint: it follows the information of the *image*.
`info_noise` is the linear schedule with training times that adapt online to the information of the
*mask* (arXiv 2602.18647). The network, the seeds and the training are those of `atlas`. The space
`noise_schedules` compares fixed families only, with another network.

A schedule decides the times of the sampler as well; `info_noise` changes the training alone. So
`adapted_steps_of_linear` reads the weights of `adapted` at the noise levels that `linear` samples.
The fingerprints were measured on the test tiles, as all are, which favours `adapted` a little.

Cost: about three hours on one idle CPU core (105 trials, which read 90 trainings).

Expected: `linear` trains half of the time below a log-SNR of -2.5; `adapted` trains there less
often and `info_noise` hardly ever. Whether either is better than `linear` is open; both may be
worse, as a sampler of four steps starts at those levels. The view `ablation` has the pairs.
"""

from search_spaces import Each, Space

LOG_SNRS = [9.21, 6.794, 4.378, 1.962, -0.454, -2.87, -5.286, -7.702, -10.118]
"""The limits of the strata of the fingerprints."""
TIMES = {
    "nuclei": [0.0, 0.0125, 0.025, 0.0419, 0.3748, 0.7435, 0.9303, 0.9833, 1.0],
    "histology": [0.0, 0.0125, 0.025, 0.0427, 0.4929, 0.8089, 0.9444, 0.9851, 1.0],
    "cho": [0.0, 0.0125, 0.025, 0.0449, 0.5155, 0.8697, 0.9647, 0.9865, 1.0],
    "hela": [0.0, 0.0125, 0.025, 0.0427, 0.5492, 0.8423, 0.9579, 0.9857, 1.0],
    "brain": [0.0, 0.0125, 0.025, 0.0376, 0.3658, 0.8645, 0.9634, 0.9864, 1.0],
}
"""The times at these limits by task: `segprint adapt` wrote them from the fingerprints of `linear`,
of three seeds of `atlas`."""
LINEAR_STEPS = [-10.1177, -5.6991, -2.4672, 0.0884, 9.2102]
"""Log-SNR of the linear schedule at t = 1, 3/4, 1/2, 1/4, 0: the sampler visits the first four."""


def adapted(task: str) -> dict[str, object]:
    """Return the arm of a task whose schedule follows its fingerprint."""
    tabulated = {"times": TIMES[task], "log_snrs": LOG_SNRS}
    return {"task": task, "mode.diffusion.schedule": {"tabulated": tabulated}}


def at_steps_of_linear(arm: dict[str, object]) -> dict[str, object]:
    """Return the arm with the same training, sampled at the noise levels of the linear schedule."""
    sampler = {"steps": 4, "spacing": "information", "quantiles": LINEAR_STEPS}
    return {**arm, "mode.diffusion.sampler": {"ddim": sampler}}


SPACE = Space(
    question="Does a network learn more if its noise levels follow the information?",
    config={
        "task": Each(*TIMES),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {
            "diffusion": {
                "sampler": {"ddim": {"steps": 4}},
                "members": 2,
            }
        },
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
        "linear": {},
        "cosine": {"mode.diffusion.schedule": "cosine"},
        "input_scaled": {"mode.diffusion.schedule": "input_scaled"},
        "sigmoid": {"mode.diffusion.schedule": "sigmoid"},
        "info_noise": {"mode.diffusion.info_noise": {}},
        **{f"{task}_adapted": adapted(task) for task in TIMES},
        **{f"{task}_adapted_steps_of_linear": at_steps_of_linear(adapted(task)) for task in TIMES},
    },
    baseline="linear",
    replicates=3,
)

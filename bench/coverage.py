"""Simulated coverage of 95 % intervals of a mean over few units and three training seeds.

Skewed Dice: a unit's score is drawn from Beta(6, 1.2), which has mean 0.833 and standard deviation
0.13. A paired difference of two arms is normal between units, with standard deviation 0.02 and true
mean 0. Seeds add a normal shift to all units, and every unit and seed has a normal noise of 0.03.
BCa is that of SciPy, on unit means.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import stats

from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.small_samples import Rows, mean_interval, student

UNITS = (6, 12, 25, 50)
SEEDS, NOISE, STUDIES = 3, 0.03, 4000
KINDS = (("skewed Dice", 0.01), ("skewed Dice", 0.03), ("paired difference", 0.01))
"""Each quantity with the standard deviation between training seeds."""
Interval = tuple[Array, Array]


def main() -> None:
    """Print the share of studies whose interval holds the true mean, as a Markdown table."""
    print(f"| quantity | SD of seeds | units | {' | '.join(METHODS)} |")
    print("| --- " * (3 + len(METHODS)) + "|")
    for kind, of_seeds in KINDS:
        for units in UNITS:
            values, mean = simulated(kind, of_seeds, units, STUDIES)
            shares = [f"{100 * covered(m(values), mean):.1f}" for m in METHODS.values()]
            print(f"| {kind} | {of_seeds} | {units} | {' | '.join(shares)} |", flush=True)


def simulated(kind: str, of_seeds: float, units: int, studies: int) -> tuple[Array, float]:
    """Values of many studies, [seeds, units, studies], and their true mean."""
    draws = np.random.default_rng(units)
    shape = (1, units, studies)
    dice = kind == "skewed Dice"
    of_units = draws.beta(6, 1.2, shape) if dice else 0.02 * draws.normal(size=shape)
    shifts = of_seeds * draws.normal(size=(SEEDS, 1, studies))
    noise = NOISE * draws.normal(size=(SEEDS, units, studies))
    return of_units + shifts + noise, 6 / 7.2 if dice else 0.0


def covered(interval: Interval, mean: float) -> float:
    """The share of intervals that hold the mean."""
    low, high = interval
    return float(((low <= mean) & (mean <= high)).mean())


def percentile(values: Array) -> Interval:
    """Resample units and seeds with replacement."""
    flat = _rows(values)
    weights = bootstrap.weights(flat.runs, flat.units)
    return bootstrap.interval(weights @ flat.values / weights.sum(1, keepdims=True))


def bca(values: Array) -> Interval:
    """Resample units only, corrected for bias and acceleration (Efron 1987, JASA 82:171)."""
    parts: list[Array] = []
    for studies in np.array_split(values.mean(0), 40, axis=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # samples without spread
            found: Any = stats.bootstrap(
                (studies,), np.mean, n_resamples=1000, method="BCa", axis=0, rng=0
            )
        parts.append(np.stack(found.confidence_interval))
    low, high = np.concatenate(parts, axis=1)
    return low, high


def student_t(values: Array) -> Interval:
    """Student's interval of the unit means, which takes the seeds as fixed."""
    means = values.mean(0)
    half = student(len(means) - 1) * means.std(0, ddof=1) / np.sqrt(len(means))
    return means.mean(0) - half, means.mean(0) + half


def segprint(values: Array) -> Interval:
    """The interval of :mod:`orchestrator.statistics.small_samples`."""
    _, low, high = mean_interval(_rows(values))
    return low, high


METHODS = {"percentile": percentile, "BCa": bca, "Student's t": student_t, "bootstrap-t": segprint}


def _rows(values: Array) -> Rows:
    runs, units = (index.ravel() for index in np.indices(values.shape[:2]))
    return Rows(values.reshape(len(runs), -1), runs, units)

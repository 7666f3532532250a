"""Intervals of a mean over few units and few training seeds.

Units enter by the bootstrap-t with independent Beta(1/2, 3/2) weights (Owen 2025, arXiv
2508.10083). Seeds are a second random factor, crossed with the units: their variance widens the
interval, with the degrees of freedom of Satterthwaite (1946, Biometrics Bulletin 2:110).
"""

from __future__ import annotations

import functools
import math

import numpy as np

from orchestrator.statistics.bootstrap import RESAMPLES, Array
from orchestrator.statistics.levels import CONFIDENCE


def mean_interval(values: Array) -> tuple[float, float]:
    """The ends of the interval of the mean: ``values`` is [seeds, units], without NaN.

    The weights depend on the number of units only, so that equal values have equal ends. With one
    seed, nothing is known about seeds, and the interval is that of the units. With fewer than two
    units both ends are NaN.
    """
    _, units = values.shape
    mean = float(values.mean())
    if units < 2:
        return np.nan, np.nan
    lower, upper = _bootstrap_t(values.mean(0))
    of_units, of_seeds = _variances(values)
    if of_seeds == 0:
        return mean - lower, mean + upper
    freedom = (of_units + of_seeds) ** 2 / (
        of_units**2 / (units - 1) + of_seeds**2 / (len(values) - 1)
    )
    half = _student(freedom) * math.sqrt(of_units + of_seeds)
    if lower == 0 or upper == 0:  # the units are alike: only seeds differ
        return mean - half, mean + half
    widening = half / (_student(units - 1) * math.sqrt(of_units))
    return mean - lower * widening, mean + upper * widening


def _bootstrap_t(values: Array) -> tuple[float, float]:
    """The distances of the ends below and above the mean: ``values`` is [units]."""
    centred = values - values.mean()
    spread = float(centred.std())
    if not spread > 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0, 0.0
    weights = _weights(len(values))
    means = weights @ centred
    spreads = np.sqrt(np.maximum(weights @ centred**2 - means**2, 0.0))
    studentized = means[spreads > 0] / spreads[spreads > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(studentized, [tail, 1 - tail])
    return float(high) * spread, -float(low) * spread


@functools.lru_cache(maxsize=32)
def _weights(units: int, resamples: int = RESAMPLES) -> Array:
    """Weights that sum to one: [resamples, units]."""
    weights = np.random.default_rng(0).beta(0.5, 1.5, (resamples, units))
    return weights / weights.sum(1, keepdims=True)


def _variances(values: Array) -> tuple[float, float]:
    """The variance of the mean that is due to units and noise, and that due to seeds.

    The second is the moment estimate of the crossed random-effects model, at least 0; it is 0 for
    a single seed.
    """
    seeds, units = values.shape
    by_unit, by_seed = values.mean(0), values.mean(1)
    of_units = float(by_unit.var(ddof=1)) / units
    if seeds < 2:
        return of_units, 0.0
    residual = values - by_unit - by_seed[:, None] + values.mean()
    error = float((residual**2).sum()) / ((units - 1) * (seeds - 1))
    return of_units, max(float(by_seed.var(ddof=1)) / seeds - error / (units * seeds), 0.0)


def _student(freedom: float) -> float:
    """The quantile of Student's t at the end of a two-sided interval."""
    from scipy import stats  # takes half a second to import

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))

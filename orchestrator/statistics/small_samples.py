"""Intervals of a mean over few units and few training seeds.

Units enter by the bootstrap-t with independent Beta(1/2, 3/2) weights (Owen 2025, arXiv
2508.10083). Seeds are a second random factor, crossed with the units. The two parts of an interval
add in squares (Howe 1974, JASA 69:789). ``python -m bench coverage`` simulates the coverage.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.levels import CONFIDENCE, FEWEST_UNITS

RESAMPLES = 2000


class Rows(NamedTuple):
    """Values of rows, each one case evaluated with one training run; without NaN."""

    values: Array
    """[rows, ...]; axes after the first are separate numbers."""
    runs: NDArray[np.int64]
    """Number of each row's training run: [rows]."""
    units: NDArray[np.int64]
    """Number of each row's unit: [rows]."""


class Variances(NamedTuple):
    """The estimated variance of a mean over seeds and units, in two parts: [...] each."""

    units: Array
    """The part that is due to units, and to noise of single rows."""
    seeds: Array
    """The part that is due to seeds, at least 0; 0 for a single seed."""


def mean_estimate(classes: Sequence[Rows]) -> Estimate:
    """The mean over classes of the mean over rows, with its interval.

    The ends are NaN for fewer than :data:`~orchestrator.statistics.levels.FEWEST_UNITS` units.
    """
    values = by_seed_and_unit(classes)
    below, above = distances(values)
    mean = float(values.mean())
    return Estimate(mean, mean - float(below), mean + float(above), "bootstrap-t")


def mean_interval(rows: Rows) -> tuple[Array, Array, Array]:
    """Mean over rows with the ends of its interval: [...] each."""
    values = by_seed_and_unit([rows])
    below, above = distances(values)
    mean = values.mean((0, 1))
    return mean, mean - below, mean + above


def by_seed_and_unit(classes: Sequence[Rows]) -> Array:
    """One value per seed and unit, whose mean is the mean over classes of the mean over rows.

    It is that mean plus the influence of the rows of the seed and unit (Davison & Hinkley 1997,
    section 2.7), [seeds, units, ...]. If every seed and unit has one row, it is that row's value.
    """
    runs, units = (
        np.unique(np.concatenate(labels), return_inverse=True)[1]
        for labels in zip(*((rows.runs, rows.units) for rows in classes), strict=True)
    )
    means = [rows.values.mean(0) for rows in classes]
    shares = [
        (rows.values - mean) / (len(classes) * len(rows.values))
        for rows, mean in zip(classes, means, strict=True)
    ]
    size = (int(runs.max()) + 1, int(units.max()) + 1)
    influence = np.zeros((*size, *means[0].shape))
    np.add.at(influence, (runs, units), np.concatenate(shares))
    return np.mean(means, axis=0) + influence * (size[0] * size[1])


def distances(values: Array) -> tuple[Array, Array]:
    """How far the ends are below and above the mean of ``values``, [seeds, units, ...]."""
    seeds, units, *shape = values.shape
    if units < FEWEST_UNITS:
        unknown = np.full(shape, np.nan)
        return unknown, unknown
    below, above = _bootstrap_t(values.mean(0).reshape(units, -1))
    of_seeds = variances(values).seeds
    half = student(seeds - 1) * np.sqrt(of_seeds) if seeds > 1 else np.zeros(shape)
    return np.hypot(below.reshape(shape), half), np.hypot(above.reshape(shape), half)


def variances(values: Array) -> Variances:
    """The parts of the variance of the mean of ``values``, [seeds, units, ...].

    They are the moment estimates of the crossed random-effects model (Searle, Casella & McCulloch
    1992, chapter 4).
    """
    seeds, units, *_ = values.shape
    by_unit = values.mean(0)
    of_units = by_unit.var(0, ddof=1) / units
    if seeds == 1:
        return Variances(of_units, np.zeros_like(of_units))
    by_seed = values.mean(1)
    residuals = values - by_unit - by_seed[:, None] + values.mean((0, 1))
    noise = (residuals**2).sum((0, 1)) / ((units - 1) * (seeds - 1)) / (units * seeds)
    return Variances(of_units, np.maximum(by_seed.var(0, ddof=1) / seeds - noise, 0.0))


def false_outperformance(values: Array) -> float:
    """The probability that the mean difference does not have the sign that was observed.

    ``values`` are differences, [seeds, units]. It is the posterior probability under a flat prior
    (Christodoulou et al. 2025, arXiv 2505.04720, equation of segmentation): Student's t at the
    observed mean over its standard error. Seeds add to the variance, with the degrees of freedom
    of Satterthwaite (1946, Biometrics Bulletin 2:110). It is at most 1/2, and NaN for fewer than
    :data:`~orchestrator.statistics.levels.FEWEST_UNITS` units.
    """
    from scipy import stats  # takes half a second to import

    seeds, units = values.shape
    if units < FEWEST_UNITS:
        return np.nan
    of_units, of_seeds = (float(part) for part in variances(values))
    size = abs(float(values.mean()))
    if not of_units + of_seeds > _rounding(values) ** 2:
        return 0.0 if size > _rounding(values) else 0.5
    inverse = of_units**2 / (units - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    freedom = (of_units + of_seeds) ** 2 / inverse
    t = cast("Any", stats.t)
    return float(t.cdf(-size / np.sqrt(of_units + of_seeds), freedom))


@functools.lru_cache(maxsize=256)
def student(freedom: int) -> float:
    """The quantile of Student's t at the upper end of a two-sided interval."""
    from scipy import stats  # takes half a second to import

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def _bootstrap_t(values: Array) -> tuple[Array, Array]:
    """How far the ends are below and above the mean over units; ``values`` is [units, numbers]."""
    centred = values - values.mean(0)
    spread = centred.std(0)
    spread[spread <= _rounding(values)] = 0.0
    weights = _weights(len(values))
    means = weights @ centred
    spreads = np.sqrt(np.maximum(weights @ centred**2 - means**2, 0.0))
    studentized = np.divide(means, spreads, out=np.zeros_like(means), where=spreads > 0)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(studentized, [tail, 1 - tail], axis=0)
    return high * spread, -low * spread


@functools.lru_cache(maxsize=16)
def _weights(units: int) -> Array:
    """Weights of the units in each resample, which sum to one: [resamples, units].

    They depend on the number of units only, so that equal values have equal intervals.
    """
    weights = np.random.default_rng(0).beta(0.5, 1.5, (RESAMPLES, units))
    return weights / weights.sum(1, keepdims=True)


def _rounding(values: Array) -> float:
    """A spread of at most this is due to rounding."""
    return 1e-12 * max(1.0, float(np.abs(values).max()))

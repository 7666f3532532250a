"""Power of paired comparisons: the smallest difference that a study of a given size detects.

A difference is detected by the rule of :mod:`orchestrator.statistics.verdicts`: its interval over
units and seeds excludes zero, and the signed-rank test over units is significant after adjustment.
Both are simulated for normal differences between units, between seeds, and of single rows.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, cast

import numpy as np

from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.levels import ALPHA
from orchestrator.statistics.small_samples import student, variances

POWER = 0.8
"""The probability with which a detectable difference is found."""
STUDIES = 2000
"""Simulated studies per design."""
MOST_UNITS = 200
"""The most units that are simulated; more are replaced by so many of the same standard error."""
MOST_EXACT = 40
"""The most units for which the signed-rank test is exact; beyond, its t-approximation is used."""
MOST_TIMES = 32
"""The most times as many units that are looked for."""
EFFICIENCY = 3 / np.pi
"""The efficiency of the signed-rank test relative to Student's t (Hodges & Lehmann 1956)."""


class Spread(NamedTuple):
    """Standard deviations of a paired difference."""

    units: float
    """Between units."""
    seeds: float = 0.0
    """Between training seeds, common to all units."""
    noise: float = 0.0
    """Of a single seed and unit, beyond both."""


class Design(NamedTuple):
    """The size of a study."""

    units: int
    seeds: int
    comparisons: int
    """The number of comparisons that p-values are adjusted for."""


def spread_of(differences: Array) -> Spread:
    """The spread of observed differences, [seeds, units]; with one seed, all is between units."""
    seeds, units = differences.shape
    of_mean = variances(differences)
    by_unit, by_seed = differences.mean(0), differences.mean(1)
    residuals = differences - by_unit - by_seed[:, None] + differences.mean()
    freedom = (units - 1) * (seeds - 1)
    noise = float((residuals**2).sum()) / freedom if freedom else 0.0
    between = max(float(of_mean.units) * units - noise / seeds, 0.0)
    return Spread(*np.sqrt([between, float(of_mean.seeds) * seeds, noise]).tolist())


def power(spread: Spread, design: Design, difference: float) -> float:
    """The probability that a true difference is found, with its sign."""
    return float((needed(spread, design) < abs(difference)).mean())


def detectable(spread: Spread, design: Design) -> float:
    """The smallest difference that is found with probability :data:`POWER`.

    It is infinite where the units are too few for any significant test.
    """
    return float(np.quantile(needed(spread, design), POWER, method="higher"))


def more_units(spread: Spread, design: Design, difference: float) -> int | None:
    """The number of units, in steps of a quarter, from which on a difference is detectable.

    It is at least that of the design, and None if :data:`MOST_TIMES` as many do not suffice.
    """
    units = design.units
    while units <= MOST_TIMES * design.units:
        if detectable(spread, design._replace(units=units)) <= abs(difference):
            return units
        units += max(1, units // 4)
    return None


@functools.lru_cache(maxsize=64)
def needed(spread: Spread, design: Design) -> Array:
    """The true difference above which each simulated study finds it: [studies]."""
    draws = np.random.default_rng(0)
    shape = (design.seeds, min(design.units, MOST_UNITS), STUDIES)
    scale = np.sqrt(shape[1] / design.units)
    values = scale * spread.units * draws.normal(size=(1, *shape[1:]))
    values = values + spread.seeds * draws.normal(size=(shape[0], 1, STUDIES))
    values = values + scale * spread.noise * draws.normal(size=shape)
    of_test = _of_test(values.mean(0), design.comparisons)
    return cast("Array", np.maximum(_of_interval(values), of_test))


def _of_interval(values: Array) -> Array:
    """The difference above which the interval excludes zero; ``values`` have mean zero."""
    seeds, units, _ = values.shape
    if units < 2:
        return np.full((values.shape[-1],), np.inf)
    of_units, of_seeds = variances(values)
    half = student(units - 1) * np.sqrt(of_units)
    if seeds > 1:
        half = np.hypot(half, student(seeds - 1) * np.sqrt(of_seeds))
    return half - values.mean((0, 1))


def _of_test(values: Array, comparisons: int) -> Array:
    """The difference above which the signed-rank test of [units, studies] is significant.

    The test rejects where the k-th smallest of the means of all pairs of units is above zero, for
    the k that the level leaves (Hollander, Wolfe & Chicken 2014, section 3.3).
    """
    from scipy import stats  # takes half a second to import

    units = len(values)
    level = ALPHA / comparisons / 2
    if units > MOST_EXACT:
        quantile = float(stats.t.ppf(1 - level, units - 1))
        error: Array = values.std(0, ddof=1) / np.sqrt(units * EFFICIENCY)
        return quantile * error - values.mean(0)
    k = int(np.searchsorted(np.cumsum(_signed_rank(units)), level, side="right"))
    if k == 0:
        return np.full((values.shape[1],), np.inf)
    first, second = np.triu_indices(units)
    means = (values[first] + values[second]) / 2
    return cast("Array", -np.partition(means, k - 1, axis=0)[k - 1])


def _signed_rank(units: int) -> Array:
    """The null distribution of the sum of the ranks of negative differences."""
    chances = np.ones(1)
    for rank in range(1, units + 1):
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return chances

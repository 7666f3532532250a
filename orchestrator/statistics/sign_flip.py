"""Sign-flip tests of several paired differences at once: that one is above zero, or that all are.

Under the null hypothesis the differences of a unit are symmetric about zero, so that every pattern
of signs over the units is as probable as the observed one (Good 2005). All differences of a unit
change sign together, which preserves their dependence.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics.bootstrap import Array
from trainables.metrics import ratio

PATTERNS = 16_384
"""The most patterns of signs: all of them if there are no more, else a random sample. So many allow
a p-value that is adjusted for 400 models and tasks to fall below 5 %."""
ROUNDING = 1e-9
"""Tolerance in comparing sums of shares of one."""


def some_above(values: Array) -> Array:
    """The p-value of each column that its mean is above zero, adjusted for all columns together.

    ``values`` are [units, columns], p-values [columns]; the smallest is that of "some column is
    above zero". Single-step maximum of studentised means (Westfall & Young 1993), which controls
    the probability of any false rejection, whatever the dependence.
    """
    statistics = _statistics(values)
    largest = statistics.max(1, keepdims=True)
    return (largest >= statistics[:1] - ROUNDING).mean(0)


def all_above(values: Array) -> float:
    """The p-value that the means of all columns are above zero; [units, columns].

    It is the largest of the columns' p-values, which needs no adjustment (Berger 1982).
    """
    statistics = _statistics(values)
    return float((statistics >= statistics[:1] - ROUNDING).mean(0).max())


def unit_means(values: Array, units: NDArray[np.int64]) -> Array:
    """The mean over the rows of each unit: [rows, columns] in, [units, columns] out."""
    names, at = np.unique(units, return_inverse=True)
    total = np.zeros((len(names), values.shape[1]))
    np.add.at(total, at, values)
    return total / np.bincount(at)[:, None]


def _statistics(values: Array) -> Array:
    """Sums over the root of the sum of squares: [patterns, columns], the first as observed.

    Signs do not change the denominator, and t is an increasing function of this statistic.
    """
    scaled: Array = ratio(values, np.sqrt(np.square(values).sum(0, keepdims=True)))
    scaled[np.isnan(scaled)] = 0.0  # a column of zeros
    return _signs(len(values)) @ scaled


@functools.lru_cache(maxsize=8)
def _signs(units: int) -> Array:
    """±1, [patterns, units], the first all +1; every pattern once if there are few."""
    if 2**units <= PATTERNS:
        numbers = np.arange(2**units, dtype=np.int64)[:, None]
        bits: NDArray[np.int64] = np.right_shift(numbers, np.arange(units)) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (PATTERNS, units))
        bits[0] = 0
    return (1 - 2 * bits).astype(np.float64)

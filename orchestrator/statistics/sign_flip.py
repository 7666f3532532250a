"""Sign-flip tests of several paired differences at once: that one is above zero, that all are.

Under the hypothesis that a unit's differences are as likely the other way round, every pattern of
signs over the units is as likely as the one that was seen (Good 2005). All differences of a unit
change sign together, so that how they depend on each other is kept.
"""

from __future__ import annotations

import functools

import numpy as np

from orchestrator.statistics.bootstrap import Array
from trainables.metrics import ratio

MOST = 16_384
"""Patterns of signs: all of them of so few units that there are no more, else drawn; so many that a
p-value adjusted for 400 models and tasks can still be below 5 %."""
CLOSE = 1e-9
"""What rounding may do to a sum of shares of one."""


def some_above(values: Array) -> Array:
    """Of each column, the p-value that its mean is above zero, adjusted for all columns together.

    ``values`` are [units, columns], p-values [columns]; the smallest is that of "some column is".
    Single-step maximum of studentised means (Westfall & Young 1993): strong control of the chance
    of any false one, whatever the dependence.
    """
    drawn = _statistics(values)
    most = drawn.max(1, keepdims=True)
    return (most >= drawn[:1] - CLOSE).mean(0)


def all_above(values: Array) -> float:
    """The p-value that the means of all columns are above zero; [units, columns].

    The largest of theirs: that all are is only said where each is (Berger 1982), which needs no
    adjustment.
    """
    drawn = _statistics(values)
    return float((drawn >= drawn[:1] - CLOSE).mean(0).max())


def _statistics(values: Array) -> Array:
    """Sums over the root of the sum of squares, which signs do not change and of which t is a
    rising function: [patterns, columns], the first as seen.
    """
    scaled: Array = ratio(values, np.sqrt(np.square(values).sum(0, keepdims=True)))
    scaled[np.isnan(scaled)] = 0.0  # a difference that no unit has
    return _signs(len(values)) @ scaled


@functools.lru_cache(maxsize=8)
def _signs(units: int) -> Array:
    """±1, [patterns, units], the first all +1; every pattern once where these are few."""
    if 2**units <= MOST:
        bits = np.arange(2**units)[:, None] >> np.arange(units) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (MOST, units))
        bits[0] = 0
    return (1 - 2 * bits).astype(np.float64)

"""Permutation test that densities of two samples have the same shape, whatever their areas."""

from __future__ import annotations

import math

import numpy as np

from orchestrator.statistics.bootstrap import Array
from trainables.metrics import ratio

PERMUTATIONS = 1999


def least_p(one: int, other: int) -> float:
    """The smallest p-value with so many units in the two samples: one over the number of splits.

    Samples of the same size have two splits of the same distance.
    """
    return (1 + (one == other)) / math.comb(one + other, one)


def unit_area(areas: Array) -> Array:
    """Areas scaled to a sum of one over the last axis; NaN where the sum is zero."""
    return ratio(areas, np.broadcast_to(areas.sum(-1, keepdims=True), areas.shape))


def same_shape(one: Array, other: Array, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """The p-value of equal shape; areas per unit and bin, [units, bins] each.

    The statistic is the Wasserstein-1 distance of the mean densities, scaled to unit area, over the
    standard error of its cumulative differences. Without the studentisation, a task with fewer or
    more variable units would be taken for one of another shape (Janssen 1997, Stat. Prob. Lett.
    36:9). Under the null hypothesis whole units, scaled by the area of their task's mean, are
    exchangeable between the tasks; the observed split counts as one. The test is conditional on the
    networks at hand: a unit includes all its training seeds, and the variation between seeds is not
    part of it. NaN where a task has no area.
    """
    totals = one.sum(1).mean(), other.sum(1).mean()
    if not min(totals) > 0:
        return np.nan
    pooled = np.concatenate([one / totals[0], other / totals[1]])
    # The contribution of each unit to the difference of shapes, to first order in its area.
    shape = unit_area(pooled.sum(0))
    contributions = np.cumsum(pooled - pooled.sum(1, keepdims=True) * shape, axis=1)
    order = np.random.default_rng(seed).random((permutations, len(pooled))).argsort(1)
    first = np.concatenate([[np.arange(len(pooled))], order]) < len(one)
    (mean, error), (other_mean, other_error) = (
        _mean(sample.astype(float), contributions) for sample in (first, ~first)
    )
    distance = np.abs(mean - other_mean).sum(1)
    distance[distance < 1e-9] = 0  # rounding
    statistic = distance / np.maximum(np.sqrt(error + other_error), 1e-12)
    return float((statistic >= statistic[0] * (1 - 1e-9)).mean())


def _mean(chosen: Array, values: Array) -> tuple[Array, Array]:
    """Means of chosen rows, [draws, bins], and the sum over bins of their squared errors."""
    count = chosen[0].sum()
    mean = chosen @ values / count
    variance = np.maximum(chosen @ values**2 / count - mean**2, 0)
    return mean, variance.sum(1) / max(count - 1, 1)

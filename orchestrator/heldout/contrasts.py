"""Weighted sums of a metric over cells that were tested on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.heldout.rows import Cases
from orchestrator.statistics.estimates import Estimate
from orchestrator.statistics.levels import FEWEST_UNITS
from orchestrator.statistics.small_samples import (
    Rows,
    by_seed_and_unit,
    false_outperformance,
    mean_estimate,
)
from trainables.metrics import Array, Metric

Sides = tuple[Cases, ...]
"""The shared cases of one class, as each of the compared cells predicted them."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of the values of a metric, one value per side."""

    sides: tuple[float, ...]
    """The value of each side: the mean over the classes that have a value on all sides."""
    estimate: Estimate
    """The weighted sum with its interval."""
    false_outperformance: float
    """The probability that the sum does not have the sign that was observed; NaN if unknown."""
    by_seed_and_unit: Array | None = None
    """The sum of each seed and unit, [seeds, units], for a metric that is a mean over cases."""


def contrast(
    metric: Metric, by_class: Sequence[Sides], weights: Sequence[float]
) -> Contrast | None:
    """The mean over classes of the weighted sum over sides; None where no class has a value.

    All sides have the same cases and runs. A metric that is a mean over cases has the interval of
    small samples (:mod:`orchestrator.statistics.small_samples`); it is computed from the cases for
    which it is defined on all sides. A pooled metric has the percentile bootstrap. A single unit
    has no interval.
    """
    return (_of_pooled if metric.pooled else _of_means)(
        metric, by_class, np.array(weights, np.float64)
    )


def _of_means(metric: Metric, by_class: Sequence[Sides], weights: Array) -> Contrast | None:
    means: list[Array] = []
    classes: list[Rows] = []
    for sides in by_class:
        values = np.stack([side.per_case(metric) for side in sides])
        known = np.isfinite(values.sum(0))
        if known.any():
            means.append(values[:, known].mean(1))
            classes.append(sides[0].rows(weights @ values, known))
    if not classes:
        return None
    estimate = mean_estimate(classes)
    below, above = weights[weights < 0], weights[weights > 0]
    least, most = (metric.limit * part.sum() if len(part) else 0.0 for part in (below, above))
    estimate = estimate.within(least, most)
    values = by_seed_and_unit(classes)
    return Contrast(_mean(means), estimate, false_outperformance(values), values)


def _of_pooled(metric: Metric, by_class: Sequence[Sides], weights: Array) -> Contrast | None:
    points = [np.array([side.point(metric) for side in sides]) for sides in by_class]
    known = [i for i, values in enumerate(points) if not np.isnan(values).any()]
    if not known:
        return None
    sums = [weights @ np.stack([side.resampled(metric) for side in by_class[i]]) for i in known]
    resampled = np.mean(sums, axis=0)
    sides = _mean([points[i] for i in known])
    value = float(weights @ np.array(sides))
    if len(np.unique(np.concatenate([by_class[i][0].units for i in known]))) < FEWEST_UNITS:
        return Contrast(sides, Estimate.without_interval(value), np.nan)
    estimate = Estimate.from_resamples(value, resampled)
    return Contrast(sides, estimate, _share_beyond_zero(value, resampled))


def _share_beyond_zero(value: float, resampled: Array) -> float:
    """The share of resamples whose sign is not that of the value; zeros count half, 0 never."""
    against = -np.sign(value) * resampled[np.isfinite(resampled)]
    if not len(against) or value == 0:
        return 0.5 if len(against) else np.nan
    count = (against > 0).sum() + (against == 0).sum() / 2
    return float((count + 0.5) / (len(against) + 1))


def _mean(means: Sequence[Array]) -> tuple[float, ...]:
    return tuple(np.mean(means, axis=0).tolist())

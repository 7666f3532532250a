"""The permutation test of a pooled metric: cells are exchanged within units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.heldout.contrasts import Sides
from orchestrator.heldout.rows import Indices
from orchestrator.statistics.paired_tests import TestResult, exchange_test
from trainables.metrics import Array, Metric


class Matched(NamedTuple):
    """Pairs of cells with the rows that all of them have."""

    by_class: list[Sides]
    pairs: list[tuple[int, int]]
    """The places of the two cells of each pair among the sides."""
    weights: Array
    """Of each side in the mean difference of the pairs: [sides]."""


def exchange_cells(metric: Metric, matched: Matched, draws: int) -> TestResult:
    """The permutation test of a pooled metric.

    All cases, seeds, classes and pairs of a unit are exchanged together. A class that has no value
    in some draw is left out; if none is left, p is NaN.
    """
    units = np.unique(np.concatenate([sides[0].units for sides in matched.by_class]))

    def difference(exchanges: Array) -> Array:
        by_draw = [
            np.mean(
                [
                    _exchanged_difference(metric, (sides[one], sides[other]), exchanges, units)
                    for one, other in matched.pairs
                ],
                axis=0,
            )
            for sides in matched.by_class
        ]
        known = [values for values in by_draw if not np.isnan(values).any()]
        return np.mean(known, axis=0) if known else np.full(len(exchanges), np.nan)

    return exchange_test(difference, len(units), draws)


def _exchanged_difference(metric: Metric, sides: Sides, exchanges: Array, units: Indices) -> Array:
    """The difference of a pooled metric, as a mean over runs, between two sides: [draws]."""
    one, other = sides
    sums, others = one.sums(metric.resolution), other.sums(metric.resolution)
    exchanged = exchanges[:, np.searchsorted(units, one.units)]
    total = np.zeros(len(exchanges))
    for run in np.unique(one.runs):
        rows = one.runs == run
        moved = {k: exchanged[:, rows] @ (others[k][rows] - sums[k][rows]) for k in sums}
        first = metric.value({k: sums[k][rows].sum(0) + moved[k] for k in sums})
        second = metric.value({k: others[k][rows].sum(0) - moved[k] for k in sums})
        total += rows.sum() * (first - second)
    return total / len(one.runs)

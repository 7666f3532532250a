"""Paired differences between the arms of a study, on the same cases and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout import paired
from orchestrator.heldout.baselines import against_baseline
from orchestrator.heldout.final_cells import FinalCell, cells_by_task
from orchestrator.heldout.metrics import HeldOut, load_metrics

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "iou", "ece")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "metric", "cell", "against")),
        *paired.COLUMNS,
        ("baseline", pa.bool_()),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, task, metric and pair of cells, over finished final trials.

    ``value`` is the metric of ``cell``, ``value_against`` that of ``against``, and ``difference``
    the first minus the second with its 95 % interval, over the seeds and test cases that both have
    (:class:`orchestrator.heldout.paired.Pairs`). ``better`` is the share of test units on which
    ``cell`` is better, and ``false_outperformance`` the probability that the cell with the better
    value is not better. ``wilcoxon_p`` is the p-value of the signed-rank test over units; a metric
    pooled over pixels has ``permutation_p`` instead, of the test that exchanges the cells within
    units. ``seeds``, ``images``, ``groups`` and ``units`` count what is compared
    (:func:`orchestrator.statistics.bootstrap.units`).

    ``p_holm`` is adjusted over ``family`` comparisons: all pairs of one study, task and metric. In
    a study that names a baseline, ``baseline`` marks the pairs that it asks for, of each other cell
    with the baseline as ``against``; they are a family of their own, and come first.
    """
    return pa.Table.from_pylist(compared(tables, (*METRICS, *tables.metrics)), schema=SCHEMA)


def compared(tables: Catalog, metrics: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of the view, in any metrics, by name or path."""
    held_out = HeldOut(tables, load_metrics(metrics))
    by_task = cells_by_task(held_out.cells)
    largest = max(map(len, by_task.values()), default=0)
    pairs = paired.Pairs(held_out, math.comb(largest, 2))
    asked: list[dict[str, Any]] = []
    further: list[dict[str, Any]] = []
    for cells in by_task.values():
        baseline = cells[0].baseline
        first = [] if baseline is None else list(against_baseline(cells, baseline))
        asked += [row for pair in first for row in _rows(pairs, *pair, baseline=True)]
        known = {frozenset(cell.key for cell in pair) for pair in first}
        for pair in combinations(cells, 2):
            if frozenset(cell.key for cell in pair) not in known:
                further += _rows(pairs, *pair, baseline=False)
    family = ("study", "task", "metric")
    every = paired.adjusted([dict(row) for row in (*asked, *further)], *family)
    return [*paired.adjusted(asked, *family), *every[len(asked) :]]


def _rows(
    pairs: paired.Pairs, one: FinalCell, other: FinalCell, *, baseline: bool
) -> list[dict[str, Any]]:
    key = {"study": one.study, "task": one.task, "cell": one.cell, "against": other.cell}
    return [key | pair.columns | {"baseline": baseline} for pair in pairs.differences(one, other)]

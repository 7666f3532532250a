"""Paired differences between the arms of a study, on the same cases and seeds."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout import paired
from orchestrator.heldout.metrics import HeldOut, load_metrics

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "iou", "ece")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "metric", "cell", "against")),
        *paired.COLUMNS,
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, task, metric and pair of cells, over finished final trials.

    ``value`` is the metric of ``cell``, ``value_against`` that of ``against``, and ``difference``
    the first minus the second with its 95 % interval, over the seeds and test cases that both have
    (:class:`orchestrator.heldout.paired.Pairs`). ``better`` is the share of test units on which
    ``cell`` is better. ``wilcoxon_p`` is the p-value of the signed-rank test over units; a metric
    pooled over pixels has ``permutation_p`` instead, of the test that exchanges the cells within
    units. ``p_holm`` is adjusted over all pairs of one study, task and metric. ``seeds``,
    ``images``, ``groups`` and ``units`` count what is compared
    (:func:`orchestrator.statistics.bootstrap.units`).
    """
    held_out = HeldOut(tables, load_metrics(METRICS))
    cells = Counter((cell.study, cell.task) for cell in held_out.cells)
    family = math.comb(max(cells.values(), default=0), 2)
    pairs = paired.Pairs(held_out, family)
    found: list[dict[str, Any]] = []
    for one, other in combinations(held_out.cells, 2):
        if (one.study, one.task) == (other.study, other.task):
            key = {"study": one.study, "task": one.task, "cell": one.cell, "against": other.cell}
            found += [key | pair.columns for pair in pairs.differences(one, other)]
    found = paired.adjusted(found, "study", "task", "metric")
    return pa.Table.from_pylist(found, schema=SCHEMA)

"""What changing one thing changes: arms of a study in pairs, on the same cases and seeds."""

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
        *((k, pa.int64()) for k in paired.COUNTS),
        *((k, pa.float64()) for k in paired.NUMBERS),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, task, metric and pair of cells, over finished final trials.

    ``difference`` is the cell's value less that of ``against``, over the seeds and test cases that
    both have, with its 95 % interval; see :class:`orchestrator.heldout.paired.Pairs`. ``p_holm`` is
    adjusted over all pairs of one study, task and metric.
    """
    held_out = HeldOut(tables, load_metrics(METRICS))
    alike = Counter((cell.study, cell.task) for cell in held_out.cells)
    pairs = paired.Pairs(held_out, math.comb(max(alike.values(), default=0), 2))
    found: list[dict[str, Any]] = []
    for one, other in combinations(held_out.cells, 2):
        if (one.study, one.task) == (other.study, other.task):
            key = {"study": one.study, "task": one.task, "cell": one.cell, "against": other.cell}
            found += [key | pair.columns for pair in pairs.differences(one, other)]
    found = paired.adjusted(found, "study", "task", "metric")
    return pa.Table.from_pylist(found, schema=SCHEMA)

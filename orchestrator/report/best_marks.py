"""Marks the best value of each task and metric, and the values that do not differ from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.analyses import ablation
from orchestrator.heldout.metrics import load_metrics
from orchestrator.heldout.paired import advantage

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

Mark = Literal["", "best", "tie"]
Place = tuple[Any, Any, Any]
"""Task, cell and metric."""


def best_marks(
    tables: Catalog, rows: Sequence[Mapping[str, Any]], columns: Iterable[str]
) -> dict[Place, Mark]:
    """Return the best of each task and metric among rows of ``leaderboard``, and its ties.

    A tie is a cell that does not differ significantly from the best, by the paired comparison of
    the view ``ablation``. A task with a single value has no mark.
    """
    wanted = set(columns)
    metrics = [metric for metric in load_metrics(None, tables.metrics) if metric.name in wanted]
    differ = _differ(tables, [metric.name for metric in metrics])
    marks: dict[Place, Mark] = {}
    for metric, task in product(metrics, dict.fromkeys(row["task"] for row in rows)):
        name, sign = metric.name, 1 if metric.better == "higher" else -1
        known = [row for row in rows if row["task"] == task and row[name] is not None]
        if len(known) < 2:
            continue
        best = max(known, key=lambda row: sign * row[name])
        marks[task, best["cell"], name] = "best"
        for row in known:
            both = frozenset((row["cell"], best["cell"]))
            if row is not best and differ.get((name, row["study"], both)) is False:
                marks[task, row["cell"], name] = "tie"
    return marks


def _differ(tables: Catalog, metrics: Sequence[str]) -> dict[tuple[str, str, frozenset[str]], bool]:
    """Return whether two cells differ significantly, by metric and study."""
    rows = [row for row in tables["ablation"].to_pylist() if row["metric"] in metrics]
    others = [name for name in metrics if name not in {row["metric"] for row in rows}]
    rows += ablation.compared(tables, others) if others else []
    return {
        (row["metric"], row["study"], frozenset((row["cell"], row["against"]))): advantage(row) != 0
        for row in rows
    }

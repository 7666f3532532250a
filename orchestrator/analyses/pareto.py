"""Pareto fronts of accuracy and calibration against cost."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.heldout.final_cells import IDENTITY
from orchestrator.heldout.metrics import interval_columns, load_metrics
from trainables.metrics import Array

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "ece")
COSTS = {
    "passes": "passes_per_image",
    "seconds": "seconds_per_image",
    "training": "train_device_seconds",
}
"""Columns of the leaderboard, by the second part of a front's name."""
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in IDENTITY),
        *interval_columns(METRICS),
        *((k, pa.float64()) for k in COSTS.values()),
        *((f"{metric}_{cost}", pa.bool_()) for metric in METRICS for cost in COSTS),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, task and cell, as in the view ``leaderboard``, with six flags.

    ``dice_passes`` is true if the cell is on the Pareto front of Dice against passes per image: no
    other cell of the study and task is at least as good in both and better in one.
    ``dice_seconds`` is the same against seconds per test image, ``dice_training`` against training
    device-seconds; ``ece_passes``, ``ece_seconds`` and ``ece_training`` are those of ECE, of which
    less is better. A cell for which either number is unknown is not on the front.
    """
    board = tables["leaderboard"].to_pylist()
    signs = {metric.name: metric.better for metric in load_metrics(METRICS)}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in board:
        groups.setdefault((row["study"], row["task"]), []).append(row)
    for group in groups.values():
        for metric, (name, cost) in product(METRICS, COSTS.items()):
            sign = -1 if signs[metric] == "higher" else 1
            loss = sign * _numbers(row[metric] for row in group)
            front = _front(loss, _numbers(row[cost] for row in group))
            for row, is_on in zip(group, front.tolist(), strict=True):
                row[f"{metric}_{name}"] = is_on
    found = [{name: row[name] for name in SCHEMA.names} for row in board]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _numbers(values: Iterable[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _front(loss: Array, cost: Array) -> NDArray[np.bool_]:
    """The points that no other point dominates; less is better in both coordinates."""
    no_worse = (loss[:, None] <= loss) & (cost[:, None] <= cost)
    better = (loss[:, None] < loss) | (cost[:, None] < cost)
    return ~(no_worse & better).any(0) & ~np.isnan(loss) & ~np.isnan(cost)

"""Diffusion models compared with their feed-forward twins, with the cost of each."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout import paired
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.metrics import HeldOut, load_metrics

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "iou", "ece", "brier", "nll")
TOLERANCE = 0.1
"""Relative difference up to which two costs count as equal."""
COSTS = ("passes", "device_seconds", "train_device_seconds")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "model", "metric", "cell", "against")),
        *paired.COLUMNS,
        *((f"{k}{side}", pa.float64()) for k in COSTS for side in ("", "_against")),
        *((k, pa.bool_()) for k in ("equal_passes", "equal_seconds")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per metric and pair of a diffusion cell and a cell of another mode.

    The other mode is ``feedforward``, ``image_only`` or ``deep_ensemble``.

    Both are of the same study, task and model. ``difference`` is diffusion minus ``against``,
    paired by seed and case (:class:`orchestrator.heldout.paired.Pairs`; the columns are those of
    the view ``ablation``). ``p_holm`` is adjusted over all pairs of one study, task and metric.

    ``passes`` are network passes per test image. ``train_device_seconds`` are the device-seconds of
    training, ``device_seconds`` those of training and of predicting all test images once, over all
    workers, as means over seeds; validation and probes are not included. ``_against`` marks the
    cost of ``against``. ``equal_passes`` is true if both make the same number of passes;
    ``equal_seconds`` if their training device-seconds differ by at most a tenth, and null where
    they are unknown.
    """
    costs = {(r["study"], r["cell"]): _costs(r) for r in tables["leaderboard"].to_pylist()}
    held_out = HeldOut(tables, load_metrics(METRICS, tables.metrics))
    twins = [(one, other) for one, other in product(held_out.cells, repeat=2) if _twins(one, other)]
    families = Counter((one.study, one.task) for one, _ in twins)
    pairs = paired.Pairs(held_out, max(families.values(), default=1))
    found: list[dict[str, Any]] = []
    for one, other in twins:
        key = {"study": one.study, "task": one.task, "model": one.model}
        key |= {"cell": one.cell, "against": other.cell}
        ours, theirs = costs[one.key], costs[other.key]
        spent = ours | {f"{k}_against": v for k, v in theirs.items()} | _equal(ours, theirs)
        found += [key | pair.columns | spent for pair in pairs.differences(one, other)]
    found = paired.adjusted(found, "study", "task", "metric")
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _twins(one: FinalCell, other: FinalCell) -> bool:
    ours, theirs = ((c.study, c.task, c.model, c.training_task) for c in (one, other))
    return ours == theirs and one.mode == "diffusion" != other.mode


def _costs(row: dict[str, Any]) -> dict[str, float | None]:
    training, one_image = row["train_device_seconds"], row["seconds_per_image"]
    known = training is not None and one_image is not None
    return {
        "passes": float(row["passes_per_image"]),
        "device_seconds": training + one_image * row["images"] if known else None,
        "train_device_seconds": training,
    }


def _equal(
    ours: dict[str, float | None], theirs: dict[str, float | None]
) -> dict[str, bool | None]:
    one, other = ours["train_device_seconds"], theirs["train_device_seconds"]
    within = None  # unknown
    if one is not None and other is not None:
        within = abs(one - other) <= TOLERANCE * max(one, other)
    return {"equal_passes": ours["passes"] == theirs["passes"], "equal_seconds": within}

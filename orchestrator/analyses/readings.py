"""Metrics of each reading of a network: its sample, other outputs, and controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.heldout.final_cells import IDENTITY, FinalCell
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metrics
from orchestrator.heldout.rows import BOUNDARY, SAMPLE, HeldOutRows
from orchestrator.statistics.estimates import columns

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

OUTPUTS = (SAMPLE, BOUNDARY, "auxiliary", "blend")
METRICS = ("dice", "iou", "ece")


def schema(metrics: Iterable[str] = METRICS) -> pa.Schema:
    """The columns of the view, with those of the given metrics."""
    keys = [(k, pa.string()) for k in (*IDENTITY, "reading")]
    counts = [(k, pa.int64()) for k in ("seeds", "images", "groups")]
    return pa.schema([*keys, *counts, *interval_columns(metrics)])


def rows(tables: Catalog) -> pa.Table:
    """One row per study, cell and reading, over finished final trials, on test cases only.

    ``reading`` is ``sample``, the prediction by which an arm is judged; ``auxiliary``, another
    output of the same network; ``blend``, the mean of the two; ``boundary``, the probabilities of
    the sample near the true boundary (:func:`trainables.evaluation.instances.boundary_band`), which
    has calibration metrics only; or the name of a control (:mod:`trainables.controls`), the sample
    with some input replaced. A network that predicts as well under a control did not need the input
    that was replaced. ``seeds``, ``images`` and ``groups`` count the training runs, cases and
    groups of the reading, since a control may be run on some cases only. Dice, IoU and ECE have
    95 % intervals in ``_low`` and ``_high``.
    """
    held_out = HeldOut(tables, load_metrics(METRICS, tables.metrics))
    found: list[dict[str, Any]] = []
    for cell in held_out.cells:
        counted: dict[str, dict[str, int]] = {}
        for table in held_out.tables.values():
            counted = {**_counted(table, cell), **counted}
        for reading in sorted(counted, key=_place):
            key = {**cell.identity, "reading": reading, **counted[reading]}
            found.append(key | columns(held_out.measure(cell, reading)))
    return pa.Table.from_pylist(found, schema=schema(m.name for m in held_out.metrics))


COUNTED = {"seeds": "digest", "images": "case", "groups": "group"}


def _counted(table: HeldOutRows, cell: FinalCell) -> dict[str, dict[str, int]]:
    """The numbers of runs, cases and groups that a table has of a cell, by reading."""
    rows = table.indices(cell.digests)
    codes = table.codes["reading"][rows]
    return {
        table.names["reading"][c]: {
            name: len(np.unique(table.codes[of][rows[codes == c]])) for name, of in COUNTED.items()
        }
        for c in np.unique(codes)
    }


def _place(reading: str) -> tuple[int, str]:
    """The sort key: outputs in their order, then controls by name."""
    return (OUTPUTS.index(reading), "") if reading in OUTPUTS else (len(OUTPUTS), reading)

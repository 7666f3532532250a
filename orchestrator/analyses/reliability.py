"""Predicted probability against observed frequency: the bins of a reliability diagram."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.heldout.final_cells import IDENTITY
from orchestrator.heldout.metrics import HeldOut, interval_columns
from orchestrator.heldout.rows import BOUNDARY, SAMPLE, Cases
from orchestrator.statistics import bootstrap
from trainables.metrics import ratio
from trainables.metrics.ece import ECE

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

REGIONS = {"image": SAMPLE, "boundary": BOUNDARY}
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in (*IDENTITY, "class", "region")),
        ("bin", pa.int64()),
        ("count", pa.int64()),
        *((k, pa.float64()) for k in ("low", "high", "confidence")),
        *interval_columns(["accuracy"]),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, cell, foreground class, region and non-empty bin, on test cases.

    Bins have equal width: ``bin`` holds the pixels with ``low`` ≤ p < ``high``. A ``region`` is
    the whole ``image``, or the ``boundary``, the pixels near a true boundary
    (:func:`trainables.evaluation.instances.boundary_band`). ``count`` is the number of pixels of
    all cases and seeds together, ``confidence`` their mean probability of the class, and
    ``accuracy`` the share of them that belongs to the class, with its 95 % interval over groups or
    cases (:func:`orchestrator.statistics.bootstrap.units`) and seeds; the interval is null
    where fewer than six units have a pixel in the bin. Over the bins of one class and region,
    Σ count·|accuracy − confidence| / Σ count is the ECE of the class. With one seed, the mean over
    classes is that of the view ``leaderboard``, or for the boundary of ``readings``; with several
    it is at most that, because errors of seeds in opposite directions cancel.
    """
    metric = ECE()
    held_out = HeldOut(tables, [metric])
    found: list[dict[str, Any]] = []
    for cell in held_out.cells:
        table = held_out.tables[metric.table]
        for region, reading in REGIONS.items():
            some, runs = table.indices(cell.digests, reading), table.runs(cell.seed_of)
            for name, cases in table.by_class(some, runs).items():
                key = {**cell.identity, "class": name, "region": region}
                found += [key | row for row in _bins(cases, metric.bins)]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _bins(cases: Cases, bins: int) -> Iterator[dict[str, Any]]:
    sums = {name: values.sum(0) for name, values in cases.sums(bins).items()}
    filled = np.flatnonzero(sums["count"])
    drawn = {name: values[:, filled] for name, values in cases.resampled_sums(bins).items()}
    ends = np.transpose(bootstrap.interval(ratio(drawn["y_sum"], drawn["count"])))
    there = cases.sums(bins)["count"] > 0
    for b, (low, high) in zip(filled.tolist(), ends.tolist(), strict=True):
        enough = len(np.unique(cases.units[there[:, b]])) >= bootstrap.FEWEST
        yield {
            "bin": b,
            "count": int(sums["count"][b]),
            "low": b / bins,
            "high": (b + 1) / bins,
            "confidence": float(sums["p_sum"][b] / sums["count"][b]),
            "accuracy": float(sums["y_sum"][b] / sums["count"][b]),
            "accuracy_low": low if enough else None,
            "accuracy_high": high if enough else None,
            "accuracy_method": "percentile" if enough else None,
        }

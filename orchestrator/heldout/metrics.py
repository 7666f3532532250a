"""Metrics of final cells on held-out cases, each with a 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.heldout.final_cells import FinalCell, final_cells
from orchestrator.heldout.rows import SAMPLE, Cases, HeldOutRows, mean_of_classes
from orchestrator.statistics import bootstrap
from trainables.metrics import Metric
from trainables.part import names, parse_part

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog


def load_metrics(chosen: Iterable[str] | None = None) -> list[Metric]:
    """The named metrics, or all, with their default settings."""
    listed = names("metrics") if chosen is None else chosen
    return [cast("Metric", parse_part("metrics", name)) for name in listed]


def interval_columns(metrics: Iterable[Metric]) -> list[tuple[str, pa.DataType]]:
    """The columns of each metric: its value and the ends of its interval; null if not measured."""
    return [(f"{m.name}{end}", pa.float64()) for m in metrics for end in ("", "_low", "_high")]


class HeldOut:
    """Test rows of final cells, from which metrics of a cell are computed."""

    def __init__(
        self, tables: Catalog, metrics: list[Metric], cells: list[FinalCell] | None = None
    ) -> None:
        self.metrics = metrics
        self.cells = list(final_cells(tables)) if cells is None else cells
        digests = {digest for cell in self.cells for digest in cell.digests}
        used = {metric.table: None for metric in metrics} if digests else {}
        self.tables = {name: HeldOutRows(name, tables[name], digests) for name in used}

    def groups(self, cell: FinalCell, reading: str = SAMPLE) -> int:
        """Number of groups (patients, slides or slabs) that the cell's test cases belong to."""
        rows = [(table, table.indices(cell.digests, reading)) for table in self.tables.values()]
        return max((len(np.unique(t.codes["group"][some])) for t, some in rows), default=0)

    def seeds(self, cell: FinalCell) -> int:
        """Number of training runs that every metric is computed from.

        A run whose rows of one table are damaged has no rows there and is not counted.
        """
        rows = [(table, table.indices(cell.digests, SAMPLE)) for table in self.tables.values()]
        runs = [len(np.unique(table.codes["digest"][some])) for table, some in rows]
        return min((count for count in runs if count), default=len(cell.digests))

    def measure(self, cell: FinalCell, reading: str = SAMPLE) -> dict[str, float]:
        """``NAME``, ``NAME_low`` and ``NAME_high`` of every metric of one reading of a cell.

        A value is the mean over classes of the metric over cases and training runs. A case or a
        class for which the metric is NaN is left out; a metric that is NaN for all is absent.
        """
        values: dict[str, float] = {}
        for name, table in self.tables.items():
            by_class = table.by_class(table.indices(cell.digests, reading)).values()
            for metric in (m for m in self.metrics if m.table == name):
                values |= _with_interval(metric, by_class)
        return values

    def per_case(self, metric: Metric, cell: FinalCell) -> pd.Series[float]:
        """The metric of each test case, indexed by the numbers of its group and case.

        It is the mean over training runs, then over classes; a pooled metric is computed from the
        pixels of that case alone.
        """
        table = self.tables[metric.table]
        by_class = table.by_class(table.indices(cell.digests, SAMPLE)).values()
        cases, values = mean_of_classes([(c.cases, c.per_case(metric)) for c in by_class])
        group = {
            case: group
            for c in by_class
            for case, group in zip(c.cases.tolist(), c.groups.tolist(), strict=True)
        }
        index = [(group[case], case) for case in cases.tolist()]
        return pd.Series(values, pd.MultiIndex.from_tuples(index, names=["group", "case"]))


def _with_interval(metric: Metric, classes: Iterable[Cases]) -> dict[str, float]:
    estimates = [cases.estimate(metric) for cases in classes]
    known = [(value, resampled) for value, resampled in estimates if not np.isnan(value)]
    if not known:
        return {}
    low, high = bootstrap.interval(np.mean([resampled for _, resampled in known], axis=0))
    value = float(np.mean([value for value, _ in known]))
    name = metric.name
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}

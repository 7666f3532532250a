"""Metrics of final cells on held-out cases, each with a 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.heldout.contrasts import contrast
from orchestrator.heldout.final_cells import FinalCell, final_cells
from orchestrator.heldout.rows import SAMPLE, HeldOutRows, mean_of_classes
from orchestrator.statistics.estimates import Estimate
from trainables.metrics import Metric
from trainables.parsing import parse_part
from trainables.part import names

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog


_OWN: dict[str, Metric] = {}
"""The metrics of users' files that this process has loaded, by their name in rows."""


def load_metric(text: str) -> Metric:
    """The metric of a name, or of the path of a user's file, with its default settings.

    Raises:
        ValueError: there is no such metric; the file breaks a rule of metrics, or has the name of
            a metric of this program.
    """
    if not text.endswith(".py"):
        return _OWN.get(text) or cast("Metric", parse_part("metrics", text))
    from trainables import contracts  # it imports torch, which takes seconds

    metric = cast("Metric", parse_part("metrics", text))
    contracts.check(metric)
    if metric.name in names("metrics"):
        raise ValueError(f"metric {text!r}: there is another metric {metric.name}; rename the file")
    _OWN[metric.name] = metric
    return metric


def load_metrics(chosen: Iterable[str] | None = None, more: Iterable[str] = ()) -> list[Metric]:
    """The chosen metrics, by default all that have a name, and ``more`` by name or path.

    Raises:
        ValueError: as of :func:`load_metric`; two of them have one name.
    """
    listed = names("metrics") if chosen is None else chosen
    loaded = {text: load_metric(text) for text in [*listed, *more]}
    by_name = {metric.name: text for text, metric in loaded.items()}
    for text, metric in loaded.items():
        if by_name[metric.name] != text:
            raise ValueError(
                f"metric {text!r}: {by_name[metric.name]!r} has the same name; rename one file"
            )
    return list(loaded.values())


def interval_columns(numbers: Iterable[str]) -> list[tuple[str, pa.DataType]]:
    """The columns of each number: its value, and the ends and the method of its interval."""
    kinds = {"": pa.float64(), "_low": pa.float64(), "_high": pa.float64(), "_method": pa.string()}
    return [(f"{name}{end}", kind) for name in numbers for end, kind in kinds.items()]


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

    def measure(self, cell: FinalCell, reading: str = SAMPLE) -> dict[str, Estimate]:
        """Every metric of one reading of a cell, by name.

        A value is the mean over classes of the metric over cases and training runs. A case or a
        class for which the metric is NaN is left out; a metric that is NaN for all is absent.
        """
        estimates: dict[str, Estimate] = {}
        for name, table in self.tables.items():
            rows, runs = table.indices(cell.digests, reading), table.runs(cell.seed_of)
            sides = [(cases,) for cases in table.by_class(rows, runs).values()]
            for metric in (m for m in self.metrics if m.table == name):
                if (found := contrast(metric, sides, (1,))) is not None:
                    estimates[metric.name] = found.estimate
        return estimates

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

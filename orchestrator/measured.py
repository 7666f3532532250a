"""What final trials measured on test cases: any metric of any cell, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator import bootstrap
from trainables.metrics import Array, Metric, ratio
from trainables.part import names, parse_part
from trainables.record import BINS, SCHEMAS

if TYPE_CHECKING:
    from orchestrator.tables import Tables

MeasuredCell = tuple[dict[str, str], pd.DataFrame]
"""What a cell is, and the ``trials`` rows of it."""
ABOUT = ("study", "task", "arm", "model", "mode", "cell")
SAMPLE = "sample"
"""The reading that an arm is judged by."""


def metrics(chosen: Iterable[str] | None = None) -> list[Metric]:
    """All metrics, or some, with their defaults."""
    listed = names("metrics") if chosen is None else chosen
    return [cast("Metric", parse_part("metrics", name)) for name in listed]


def columns(measured: Iterable[Metric]) -> list[tuple[str, pa.DataType]]:
    """Three per metric: its value, and the ends of its interval. Null: nothing was measured."""
    return [(f"{m.name}{end}", pa.float64()) for m in measured for end in ("", "_low", "_high")]


class HeldOut:
    """Test rows of all finished final trials, to be asked for the metrics of a cell."""

    def __init__(
        self, tables: Tables, chosen: list[Metric], cells: list[MeasuredCell] | None = None
    ) -> None:
        self.metrics = chosen
        self.cells = list(final_cells(tables)) if cells is None else cells
        digests = {digest for _, trials in self.cells for digest in trials["digest"]}
        used = {metric.table for metric in chosen} if digests else set[str]()
        self._rows = {name: _test_rows(tables[name], digests) for name in used}

    def rows(self, table: str, trials: pd.DataFrame) -> pd.DataFrame:
        """A table's rows of some trials, of whatever reading."""
        rows = self._rows[table]
        return rows[rows["digest"].isin(trials["digest"])]

    def measure(self, trials: pd.DataFrame, reading: str = SAMPLE) -> dict[str, float]:
        """Values and intervals over some trials, of one reading where a table has several.

        A value is the mean over classes of the metric over their cases. A metric that is NaN for
        a case or a class leaves it out; one that is NaN for all is absent.
        """
        found: dict[str, float] = {}
        for table in self._rows:
            rows = self.rows(table, trials)
            if "reading" in rows:
                rows = rows[rows["reading"] == reading]
            classes = [Cases(table, part) for _, part in rows.groupby("class", observed=True)]
            for metric in (m for m in self.metrics if m.table == table):
                found |= _with_interval(metric, classes)
        return found


def final_cells(tables: Tables) -> Iterator[MeasuredCell]:
    """Per study and cell: what it is, and the rows of its finished final trials."""
    studies = cast("pd.DataFrame", tables["studies"].to_pandas())
    trials = cast("pd.DataFrame", tables["trials"].to_pandas())
    final = studies[studies["stage"] == "final"].drop(columns=["config"])
    final = final.merge(trials[trials["outcome"] == "finished"], on="digest")
    for _, group in final.groupby(["study", "cell"], sort=False):
        yield {k: str(group[k].iloc[0]) for k in ABOUT}, group


def _test_rows(table: pa.Table, digests: Iterable[str]) -> pd.DataFrame:
    """Names become categories: the table of histograms is long."""
    wanted = (pc.field("split") == "test") & pc.field("digest").isin(list(digests))
    kept = table.filter(wanted).drop_columns(["attempt", "split", "group"])
    return cast("pd.DataFrame", kept.to_pandas(strings_to_categorical=True))


def _with_interval(metric: Metric, classes: list[Cases]) -> dict[str, float]:
    found = [cases.value(metric) for cases in classes]
    known = [(value, resampled) for value, resampled in found if not np.isnan(value)]
    if not known:
        return {}
    low, high = bootstrap.interval(np.mean([resampled for _, resampled in known], axis=0))
    value = float(np.mean([value for value, _ in known]))
    name = metric.name
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}


class Cases:
    """Sums of every case of one class, and how often each case counts in each resample."""

    def __init__(self, table: str, rows: pd.DataFrame) -> None:
        digest, case = cast("Any", rows["digest"]).cat, cast("Any", rows["case"]).cat
        count = len(case.categories)
        codes = digest.codes.to_numpy(np.int64) * count + case.codes.to_numpy(np.int64)
        keys, at = np.unique(codes, return_inverse=True)
        runs, cases = digest.categories[keys // count], case.categories[keys % count]
        self.cases: list[str] = list(cases)
        self.counted = bootstrap.weights(list(runs), self.cases)
        shape = (len(keys), BINS) if table == "calibration" else (len(keys),)
        place = at * BINS + rows["bin"].to_numpy() if table == "calibration" else at
        self.sums: dict[str, Array] = {}
        for column in SCHEMAS[table]:
            if column.name != "bin" and not pa.types.is_string(column.type):
                values = rows[column.name].to_numpy(np.float64)
                flat = np.bincount(place, weights=values, minlength=int(np.prod(shape)))
                self.sums[column.name] = cast("Array", flat).reshape(shape)
        self.resampled = _Resampled(self.counted, self.sums)

    def value(self, metric: Metric, among: NDArray[np.bool_] | None = None) -> tuple[float, Array]:
        """The metric over all cases, or those ``among``, and over each resample of them."""
        if metric.pooled:
            total = {k: v.sum(0, keepdims=True) for k, v in self.sums.items()}
            return float(metric.value(total)[0]), metric.value(self.resampled)
        values = metric.value(self.sums)
        known = ~np.isnan(values) if among is None else among
        values, counted = values[known], self.counted[:, known]
        mean = float(values.mean()) if len(values) else np.nan
        return mean, ratio(counted @ values, counted.sum(1))


class _Resampled(dict[str, Array]):
    """Sums over each resample of the cases, [resamples, ...], made when first asked for."""

    def __init__(self, counted: Array, sums: dict[str, Array]) -> None:
        super().__init__()
        self._counted, self._sums = counted, sums

    def __missing__(self, name: str) -> Array:
        self[name] = self._counted @ self._sums[name]
        return self[name]

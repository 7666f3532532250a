"""What final trials measured on test cases: any metric of any cell, with its 95 % interval."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.ledger.parquet import coded
from orchestrator.statistics import bootstrap
from search_spaces._labels import labels
from trainables.metrics import Array, Metric, ratio
from trainables.part import names, parse_part
from trainables.schemas import BINS, SCHEMAS

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

MeasuredCell = tuple[dict[str, str], pd.DataFrame]
"""What a cell is, and the ``trials`` rows of it."""
ABOUT = ("study", "task", "arm", "model", "mode", "cell")
SAMPLE = "sample"
"""The reading that an arm is judged by."""
BOUNDARY = "boundary"
"""The same near the true boundary: of calibration only."""


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
        self, tables: Catalog, chosen: list[Metric], cells: list[MeasuredCell] | None = None
    ) -> None:
        self.metrics = chosen
        self.cells = list(final_cells(tables)) if cells is None else cells
        digests = {digest for _, trials in self.cells for digest in trials["digest"]}
        used = {metric.table: None for metric in chosen} if digests else {}
        self.tables = {name: TestRows(name, tables[name], digests) for name in used}

    def groups(self, trials: pd.DataFrame, reading: str = SAMPLE) -> int:
        """Patients, slides or slabs that the cases are of."""
        tables = self.tables.values()
        rows = [(table, table.of(trials["digest"].unique(), reading)) for table in tables]
        return max((len(np.unique(t.codes["group"][mine])) for t, mine in rows), default=0)

    def seeds(self, trials: pd.DataFrame) -> int:
        """Training runs that every number is of: where a part is damaged, its run has no rows."""
        digests = trials["digest"].unique()
        rows = [(table, table.of(digests, SAMPLE)) for table in self.tables.values()]
        runs = [len(np.unique(table.codes["digest"][mine])) for table, mine in rows]
        return min((count for count in runs if count), default=len(digests))

    def measure(self, trials: pd.DataFrame, reading: str = SAMPLE) -> dict[str, float]:
        """Values and intervals over some trials, of one reading where a table has several.

        A value is the mean over classes of the metric over their cases. A metric that is NaN for
        a case or a class leaves it out; one that is NaN for all is absent.
        """
        found: dict[str, float] = {}
        for name, table in self.tables.items():
            rows = table.of(trials["digest"], reading)
            runs, classes = table.codes["digest"], table.codes["class"][rows]
            by_class = [Cases(table, rows[classes == c], runs) for c in np.unique(classes)]
            for metric in (m for m in self.metrics if m.table == name):
                found |= _with_interval(metric, by_class)
        return found

    def each(self, metric: Metric, trials: pd.DataFrame) -> pd.Series[float]:
        """The value of each case that some trials tell of, by the numbers of its group and its own:
        the mean over seeds, then over classes; of a pooled metric, over that case's pixels alone.
        """
        table = self.tables[metric.table]
        rows = table.of(trials["digest"], SAMPLE)
        runs, classes = table.codes["digest"], table.codes["class"][rows]
        by_class = [Cases(table, rows[classes == c], runs) for c in np.unique(classes)]
        cases, values = mean_of_classes([(c.cases, c.each(metric)) for c in by_class])
        group = dict(
            z for c in by_class for z in zip(c.cases.tolist(), c.groups.tolist(), strict=True)
        )
        names = [(group[case], case) for case in cases.tolist()]
        return pd.Series(values, pd.MultiIndex.from_tuples(names, names=["group", "case"]))


class TestRows:
    """A table's rows of test cases, or another split's, as numbers; a trial's are found at once."""

    __test__ = False  # pytest takes it for tests
    NAMES = ("digest", "case", "group", "class", "reading")

    def __init__(self, name: str, table: pa.Table, digests: set[str], split: str = "test") -> None:
        wanted = (pc.field("split") == split) & pc.field("digest").isin(list(digests))
        kept = table.filter(wanted)
        coding = {key: coded(kept[key]) for key in self.NAMES if key in kept.column_names}
        self.names = {key: names for key, (names, _) in coding.items()}
        self.codes = {key: codes for key, (_, codes) in coding.items()}
        self.bins = kept["bin"].to_numpy() if name == "calibration" else None
        self.numbers: dict[str, Array] = {
            column.name: kept[column.name].cast(pa.float64()).to_numpy()
            for column in SCHEMAS[name]
            if column.name != "bin" and not pa.types.is_string(column.type)
        }
        order = np.argsort(self.codes["digest"], kind="stable")
        ends = np.bincount(self.codes["digest"], minlength=len(self.names["digest"])).cumsum()
        places = np.split(order, ends[:-1]) if len(ends) else []
        self._rows = dict(zip(self.names["digest"], places, strict=True))

    def of(self, digests: Iterable[str], reading: str | None = None) -> NDArray[np.int64]:
        """The rows of some trials, of one reading where there are several."""
        mine = [self._rows[digest] for digest in sorted(digests) if digest in self._rows]
        rows = np.concatenate(mine) if mine else np.empty(0, np.int64)
        if reading is None or "reading" not in self.names:
            return rows
        names = self.names["reading"]
        code = names.index(reading) if reading in names else -1
        return rows[self.codes["reading"][rows] == code]


def final_cells(tables: Catalog, declared: pa.Table | None = None) -> Iterator[MeasuredCell]:
    """Per study and cell: what it is, and the rows of its finished final trials.

    ``declared`` are other rows of ``studies`` than the current ones.
    """
    asked = tables["studies"] if declared is None else declared
    studies = asked.to_pandas()
    trials = tables["trials"].to_pandas()
    final = studies[studies["stage"] == "final"].drop(columns=["config"])
    final = final.merge(trials[trials["outcome"] == "finished"], on="digest")
    final["config"] = final["config"].fillna("{}")
    cells = list(final.groupby(["study", "cell"], sort=False))
    first = (group.iloc[0] for _, group in cells)
    tasks = task_names([(str(r["study"]), str(r["task"]), str(r["config"])) for r in first])
    for task, (_, group) in zip(tasks, cells, strict=True):
        yield {k: str(group[k].iloc[0]) for k in ABOUT} | {"task": task}, group


def task_names(cells: Sequence[tuple[str, str, str]]) -> list[str]:
    """What the tasks of cells are called, given study, data set and config as JSON of each.

    That is the data set's name; where one study uses it with several settings, what differs is
    added: two drawn tasks are two tasks.
    """
    parsed = [json.loads(config).get("task") for _, _, config in cells]
    settings = [json.dumps(task, sort_keys=True) for task in parsed]
    used: dict[tuple[str, str], dict[str, None]] = {}
    for (study, title, _), setting in zip(cells, settings, strict=True):
        used.setdefault((study, title), {})[setting] = None
    names: dict[tuple[str, str, str], str] = {}
    for (study, title), several in used.items():
        called = labels(tuple(json.loads(setting) for setting in several))
        for setting, label in zip(several, called, strict=True):
            names[study, title, setting] = label if len(several) > 1 else title
    return [names[s, title, k] for (s, title, _), k in zip(cells, settings, strict=True)]


def prefixes(tables: Catalog) -> dict[tuple[str, str], str]:
    """By study and cell, what the names of all cells of its task have in common: whole words at
    the front. Of all that were declared: so it does not depend on what has finished.
    """
    names: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in tables["studies"].select(["study", "stage", "cell", "config"]).to_pylist():
        if row["stage"] == "final":
            task = json.dumps(json.loads(row["config"]).get("task"), sort_keys=True)
            names.setdefault((row["study"], task), {})[row["cell"]] = row["cell"].split("_")
    found: dict[tuple[str, str], str] = {}
    for (study, _), by_cell in names.items():
        words = list(by_cell.values())
        common = 0
        while all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
            common += 1
        prefix = "".join(f"{word}_" for word in words[0][:common])
        found |= {(study, cell): prefix for cell in by_cell}
    return found


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
    """Sums of every case of one class, as each run saw it, and of resamples of them."""

    def __init__(self, table: TestRows, rows: NDArray[np.int64], runs: NDArray[np.int64]) -> None:
        """``runs`` tells by a number in which training run a row of the table was seen."""
        count = len(table.names["case"])
        key = runs[rows] * count + table.codes["case"][rows]
        keys, first, at = np.unique(key, return_index=True, return_inverse=True)
        self.runs, self.cases = keys // count, keys % count
        self.groups = table.codes["group"][rows[first]]
        self.units = bootstrap.units(self.cases, self.groups)
        self._table, self._rows, self._at = table, rows, at
        self.sums = functools.cache(self._summed)
        self.resampled = functools.cache(self._drawn)
        self._values: dict[Metric, tuple[float, Array]] = {}

    @property
    def counted(self) -> Array:
        """How often each row counts in each resample: [resamples, rows]."""
        return bootstrap.weights(self.runs, self.units)

    def each(self, metric: Metric) -> Array:
        """The metric of each case."""
        return metric.value(self.sums(metric.resolution))

    def value(self, metric: Metric, among: NDArray[np.bool_] | None = None) -> tuple[float, Array]:
        """The metric over all cases, or those ``among``, and over each resample of them."""
        if among is not None:
            return self._mean(metric, among)
        if metric not in self._values:
            pooled = self._pooled if metric.pooled else self._mean
            self._values[metric] = pooled(metric)
        return self._values[metric]

    def point(self, metric: Metric) -> float:
        """The metric over all cases, without resampling them; NaN where there is nothing."""
        if metric.pooled:
            sums = self.sums(metric.resolution)
            total = {name: values.sum(0, keepdims=True) for name, values in sums.items()}
            return float(metric.value(total)[0])
        values = self.each(metric)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else np.nan

    def _pooled(self, metric: Metric) -> tuple[float, Array]:
        return self.point(metric), metric.value(self.resampled(metric.resolution))

    def _mean(self, metric: Metric, among: NDArray[np.bool_] | None = None) -> tuple[float, Array]:
        values = self.each(metric)
        known = ~np.isnan(values) if among is None else among
        values, counted = values[known], self.counted[:, known]
        mean = float(values.mean()) if len(values) else np.nan
        return mean, ratio(counted @ values, counted.sum(1))

    def _summed(self, resolution: int | None) -> dict[str, Array]:
        """By column, [cases] or [cases, bins]; no more bins than can be told apart."""
        place, shape = self._at, (len(self.cases),)
        if self._table.bins is not None:
            bins = resolution if resolution and BINS % resolution == 0 else BINS
            place = place * bins + self._table.bins[self._rows] // (BINS // bins)
            shape = (len(self.cases), bins)
        return {
            name: cast("Array", np.bincount(place, values[self._rows], math.prod(shape))).reshape(
                shape
            )
            for name, values in self._table.numbers.items()
        }

    def _drawn(self, resolution: int | None) -> dict[str, Array]:
        """The same over each resample of the cases, [resamples, bins], in one product."""
        sums = self.sums(resolution)
        drawn = self.counted @ np.column_stack(list(sums.values()))
        split = np.split(drawn, len(sums), axis=1)
        return {
            name: part.reshape(-1, *values.shape[1:])
            for (name, values), part in zip(sums.items(), split, strict=True)
        }


def mean_of_classes(
    by_class: list[tuple[NDArray[np.int64], Array]],
) -> tuple[NDArray[np.int64], Array]:
    """Units, and of each the mean over its rows of a class, then over classes, where known."""
    found = [_mean_by(units, values) for units, values in by_class]
    if not found:
        return np.empty(0, np.int64), np.empty(0)
    units, values = (np.concatenate(part) for part in zip(*found, strict=True))
    return _mean_by(units, values)


def _mean_by(names: NDArray[np.int64], values: Array) -> tuple[NDArray[np.int64], Array]:
    """The mean of each name's values that are known, where any is."""
    known = ~np.isnan(values)
    found, at = np.unique(names[known], return_inverse=True)
    total = cast("Array", np.bincount(at, values[known]))
    return found, total / np.bincount(at)

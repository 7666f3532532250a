"""Rows of held-out cases as arrays, and the sums per case that metrics are computed from."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.ledger.parquet import coded
from orchestrator.statistics import bootstrap
from orchestrator.statistics.small_samples import Rows
from trainables import distance_bins
from trainables.metrics import Array, Metric
from trainables.schemas import BINS, SCHEMAS

Indices = NDArray[np.int64]

STORED_BINS = {"calibration": BINS, "surfaces": distance_bins.BINS}
"""The number of bins in each table that has some."""
SAMPLE = "sample"
"""The reading by which an arm is judged."""
BOUNDARY = "boundary"
"""The same probabilities in a band around the true boundary; it has calibration rows only."""


class HeldOutRows:
    """Rows of a table of held-out cases for one split, as arrays; surface distances in pixels.

    ``names`` are the distinct values of each text column, ``codes`` the place of each row's value
    among them, ``numbers`` the numeric columns as floats, ``bins`` the fine bin of each row (None
    for tables without bins). All arrays have one entry per row.
    """

    TEXTS = ("digest", "case", "group", "class", "reading")

    def __init__(self, name: str, table: pa.Table, digests: set[str], split: str = "test") -> None:
        digest: Any = pc.field("digest")
        wanted = (pc.field("split") == split) & digest.isin(list(digests))
        if name == "surfaces":
            wanted &= pc.field("unit") == "px"
        schema: Any = SCHEMAS[name]
        kept: Any = table.filter(wanted)
        coding = {key: coded(kept[key]) for key in self.TEXTS if key in kept.column_names}
        self.names = {key: names for key, (names, _) in coding.items()}
        self.codes = {key: codes for key, (_, codes) in coding.items()}
        self.bins = kept["bin"].to_numpy() if name in STORED_BINS else None
        self.most_bins = STORED_BINS.get(name, 0)
        self.numbers: dict[str, Array] = {
            column.name: kept[column.name].cast(pa.float64()).to_numpy()
            for column in schema
            if column.name != "bin" and not pa.types.is_string(column.type)
        }
        order = np.argsort(self.codes["digest"], kind="stable")
        ends = np.bincount(self.codes["digest"], minlength=len(self.names["digest"])).cumsum()
        by_digest = np.split(order, ends[:-1]) if len(ends) else []
        self._by_digest = dict(zip(self.names["digest"], by_digest, strict=True))

    def indices(self, digests: Iterable[str], reading: str | None = None) -> Indices:
        """Indices of the rows of some trials; of one reading only, where the table has several."""
        by_digest = [self._by_digest[d] for d in sorted(digests) if d in self._by_digest]
        rows = np.concatenate(by_digest) if by_digest else np.empty(0, np.int64)
        if reading is None or "reading" not in self.names:
            return rows
        names = self.names["reading"]
        code = names.index(reading) if reading in names else -1
        return rows[self.codes["reading"][rows] == code]

    def runs(self, seeds: Mapping[str, int]) -> Indices:
        """Number the training run of each digest, in the order of the seeds: [digests].

        The number depends on the order of the seeds only, so that equal results of two cells are
        resampled alike. Digests that have no seed have the number −1.
        """
        place = {d: i for i, d in enumerate(sorted(seeds, key=lambda d: (seeds[d], d)))}
        return np.array([place.get(digest, -1) for digest in self.names["digest"]], np.int64)

    def by_class(self, rows: Indices, runs: Indices | None = None) -> dict[str, Cases]:
        """The cases among some rows, by the name of their class.

        ``runs`` numbers the training run of each digest, [digests]; by default each is one. Units
        and resamples are those of all classes together: a class whose cases are few is resampled
        with the others.
        """
        digests, classes = self.codes["digest"][rows], self.codes["class"][rows]
        of_row = digests if runs is None else runs[digests]
        population = Population(self, rows, of_row)
        return {
            self.names["class"][code]: Cases(self, rows[chosen], of_row[chosen], population)
            for code in np.unique(classes)
            for chosen in [classes == code]
        }


class Population:
    """The pairs of training run and case of all classes, which are resampled together.

    ``runs`` numbers the training run of each row of the table in ``rows``. ``units``, one entry per
    pair, are what is resampled (:func:`orchestrator.statistics.bootstrap.units`).
    """

    def __init__(self, table: HeldOutRows, rows: Indices, runs: Indices) -> None:
        count = len(table.names["case"])
        key = runs * count + table.codes["case"][rows]
        self.keys, first = np.unique(key, return_index=True)
        groups = table.codes["group"][rows[first]]
        self.runs, self.units = self.keys // count, bootstrap.units(self.keys % count, groups)

    def weights(self, at: Indices) -> Array:
        """How often each of some pairs counts in each resample: [resamples, pairs]."""
        drawn = bootstrap.weights(self.runs, self.units)
        return drawn if len(at) == len(self.keys) else drawn[:, at]


class Cases:
    """The cases of one class: sums per case and training run, and over bootstrap resamples.

    ``runs`` numbers the training run of each row of the table in ``rows``.
    The attributes ``runs``, ``cases`` and ``groups`` are numbers of training runs, cases and
    groups, one entry per pair of run and case, called a row here; ``units`` are what is resampled
    in the ``population``.
    """

    def __init__(
        self, table: HeldOutRows, rows: Indices, runs: Indices, population: Population
    ) -> None:
        count = len(table.names["case"])
        key = runs * count + table.codes["case"][rows]
        keys, first, at = np.unique(key, return_index=True, return_inverse=True)
        self.runs, self.cases = keys // count, keys % count
        self.groups = table.codes["group"][rows[first]]
        self._population, self._place = population, np.searchsorted(population.keys, keys)
        self.units = population.units[self._place]
        self._table, self._rows, self._at = table, rows, at
        self.sums = functools.cache(self._sums)
        self.resampled_sums = functools.cache(self._resampled_sums)
        self.resampled = functools.cache(self._resampled)

    @property
    def weights(self) -> Array:
        """How often each row counts in each resample: [resamples, rows]."""
        return self._population.weights(self._place)

    def per_case(self, metric: Metric) -> Array:
        """The metric of each row alone: [rows]; NaN where it is undefined."""
        return metric.value(self.sums(metric.resolution))

    def rows(self, values: Array, known: NDArray[np.bool_]) -> Rows:
        """The rows whose values are known, for the interval of their mean."""
        return Rows(values[known], self.runs[known], self.units[known])

    def point(self, metric: Metric) -> float:
        """The metric over all rows, without resampling; NaN where it is undefined for all."""
        if metric.pooled:
            return float(self._mean_of_runs(metric, np.ones((1, len(self.cases))))[0])
        values = self.per_case(metric)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else np.nan

    def _resampled(self, metric: Metric) -> Array:
        """A pooled metric over each bootstrap resample: [resamples]."""
        return self._mean_of_runs(metric, self.weights)

    def _mean_of_runs(self, metric: Metric, weights: Array) -> Array:
        """The mean over training runs of a pooled metric, for each weighting of the rows: [draws].

        ``weights`` is [draws, rows]. The cases of a run are pooled, and those of several runs are
        not: errors of calibration in opposite directions would cancel. A run counts by the weight
        of its rows; one for which the metric is undefined is left out.
        """
        sums = self.sums(metric.resolution)
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for run in np.unique(self.runs):
            rows = self.runs == run
            values = metric.value(
                _weighted({k: v[rows] for k, v in sums.items()}, weights[:, rows])
            )
            weight = np.where(np.isnan(values), 0.0, weights[:, rows].sum(1))
            total += weight * np.nan_to_num(values)
            count += weight
        return np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)

    def _sums(self, resolution: int | None) -> dict[str, Array]:
        """Sums by column, [rows] or [rows, bins]; ``resolution`` limits the number of bins."""
        place, shape = self._at, (len(self.cases),)
        if self._table.bins is not None:
            most = self._table.most_bins
            bins = resolution if resolution and most % resolution == 0 else most
            place = place * bins + self._table.bins[self._rows] // (most // bins)
            shape = (len(self.cases), bins)
        return {
            name: cast("Array", np.bincount(place, values[self._rows], math.prod(shape))).reshape(
                shape
            )
            for name, values in self._table.numbers.items()
        }

    def _resampled_sums(self, resolution: int | None) -> dict[str, Array]:
        """Sums over the rows of each resample, [resamples] or [resamples, bins]."""
        return _weighted(self.sums(resolution), self.weights)


def _weighted(sums: dict[str, Array], weights: Array) -> dict[str, Array]:
    """Weighted sums over rows, [draws] or [draws, bins]; ``weights`` is [draws, rows]."""
    totals = weights @ np.column_stack(list(sums.values()))  # one product for all columns
    split = np.split(totals, len(sums), axis=1)
    return {
        name: part.reshape(-1, *values.shape[1:])
        for (name, values), part in zip(sums.items(), split, strict=True)
    }


def mean_of_classes(by_class: list[tuple[Indices, Array]]) -> tuple[Indices, Array]:
    """The mean value of each unit, first within each class, then over classes.

    ``by_class`` holds per class the unit and the value of each row. NaNs are left out; a unit whose
    values are all NaN is absent.
    """
    means = [_mean_by_unit(units, values) for units, values in by_class]
    if not means:
        return np.empty(0, np.int64), np.empty(0)
    units, values = (np.concatenate(part) for part in zip(*means, strict=True))
    return _mean_by_unit(units, values)


def _mean_by_unit(units: Indices, values: Array) -> tuple[Indices, Array]:
    known = ~np.isnan(values)
    names, at = np.unique(units[known], return_inverse=True)
    total = cast("Array", np.bincount(at, values[known]))
    return names, total / np.bincount(at)

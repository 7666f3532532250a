"""Two sets of trials compared on the cases that both were tested on, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator import bootstrap
from orchestrator.measured import SAMPLE, Cases, HeldOut, TestRows
from trainables.metrics import Array, Metric

NUMBERS = (
    "value",
    "value_against",
    "difference",
    "difference_low",
    "difference_high",
    "wilcoxon_p",
)
COUNTS = ("seeds", "images")


class Pairs:
    """Cells of held-out trials, to be compared with each other; what one shares, it keeps."""

    def __init__(self, held_out: HeldOut) -> None:
        self._metrics, self._tables = held_out.metrics, held_out.tables
        both = [trials[["digest", "seed"]] for _, trials in held_out.cells]
        seeds = {d: str(s) for trials in both for d, s in trials.itertuples(index=False)}
        place = {seed: i for i, seed in enumerate(sorted(set(seeds.values())))}
        self._seeds = {
            name: np.array([place[seeds[d]] for d in table.names["digest"]], np.int64)
            for name, table in self._tables.items()
        }
        self._sides: dict[tuple[str, tuple[str, ...]], Side] = {}

    def differences(self, one: pd.DataFrame, other: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """One row per metric: both values, and the first less the second with its 95 % interval.

        ``one`` and ``other`` are ``trials`` rows of cells. Only what both have is compared: the
        same training seed, the same case. Seeds and cases are resampled together
        (:mod:`orchestrator.bootstrap`), so what they share cancels. ``wilcoxon_p`` is of the
        signed-rank test over cases, each the mean over seeds (Wilcoxon 1945, two-sided); null for
        a metric of all pixels at once.
        """
        for name, table in self._tables.items():
            here, there = (self._side(name, table, trials) for trials in (one, other))
            if np.array_equal(here.keys, there.keys):
                common = here.keys
            else:
                common = np.intersect1d(here.keys, there.keys, assume_unique=True)
            if not len(common):
                continue
            by_class = list(zip(here.among(common), there.among(common), strict=True))
            counts = {
                "seeds": len({seed for cases, _ in by_class for seed in np.unique(cases.runs)}),
                "images": len({case for cases, _ in by_class for case in np.unique(cases.cases)}),
            }
            for metric in (m for m in self._metrics if m.table == name):
                numbers = _difference(metric, by_class)
                if numbers is not None:
                    yield {"metric": metric.name, **counts, **numbers}

    def _side(self, name: str, table: TestRows, trials: pd.DataFrame) -> Side:
        digests = tuple(trials["digest"])
        if (name, digests) not in self._sides:
            mine = table.of(digests, SAMPLE)
            self._sides[name, digests] = Side(table, mine, self._seeds[name])
        return self._sides[name, digests]


class Side:
    """One cell's rows of a table, by class, seed and case: what two cells may have in common."""

    def __init__(self, table: TestRows, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> None:
        self._table, self._rows, self._runs = table, rows, seeds[table.codes["digest"]]
        codes = (table.codes["class"], self._runs, table.codes["case"])
        sizes = (len(table.names["class"]), int(seeds.max(initial=0)) + 1, len(table.names["case"]))
        key = np.ravel_multi_index([code[rows] for code in codes], sizes)
        self.keys, self._key = np.unique(key, return_inverse=True)
        self._found: dict[bytes, list[Cases]] = {}

    def among(self, common: NDArray[np.int64]) -> list[Cases]:
        """Of each class, the rows with these keys."""
        name = common.tobytes()
        if name not in self._found:
            rows = self._rows[np.isin(self.keys, common)[self._key]]
            classes = self._table.codes["class"][rows]
            self._found[name] = [
                Cases(self._table, rows[classes == c], self._runs) for c in np.unique(classes)
            ]
        return self._found[name]


def _difference(metric: Metric, by_class: list[tuple[Cases, Cases]]) -> dict[str, Any] | None:
    values = [_values(metric, one, other) for one, other in by_class]
    known = [(one, other) for one, other in values if not (np.isnan(one[0]) or np.isnan(other[0]))]
    if not known:
        return None
    here, there = (float(np.mean([side[i][0] for side in known])) for i in (0, 1))
    resampled = np.mean([one[1] - other[1] for one, other in known], axis=0)
    low, high = bootstrap.interval(resampled)
    return {
        "value": here,
        "value_against": there,
        "difference": here - there,
        "difference_low": float(low),
        "difference_high": float(high),
        "wilcoxon_p": None if metric.pooled else _wilcoxon(metric, by_class),
    }


def _values(
    metric: Metric, one: Cases, other: Cases
) -> tuple[tuple[float, Array], tuple[float, Array]]:
    """Both sides' values over the cases that the metric can tell something of on both."""
    if metric.pooled:
        return one.value(metric), other.value(metric)
    known, also = (~np.isnan(side.each(metric)) for side in (one, other))
    if np.array_equal(known, also):
        return one.value(metric), other.value(metric)
    return one.value(metric, known & also), other.value(metric, known & also)


def _wilcoxon(metric: Metric, by_class: list[tuple[Cases, Cases]]) -> float | None:
    from scipy import stats  # half a second to import, which only this needs

    apart = [one.each(metric) - other.each(metric) for one, other in by_class]
    by_case = [_mean_by(one.cases, d) for (one, _), d in zip(by_class, apart, strict=True)]
    cases, values = (np.concatenate(part) for part in zip(*by_case, strict=True))
    _, per_case = _mean_by(cases, values)
    if not per_case.any():
        return None  # nothing differs
    return float(cast("Any", stats.wilcoxon(per_case)).pvalue)


def _mean_by(names: NDArray[np.int64], values: Array) -> tuple[NDArray[np.int64], Array]:
    """The mean of each name's values that are known, where any is."""
    known = ~np.isnan(values)
    found, at = np.unique(names[known], return_inverse=True)
    total = cast("Array", np.bincount(at, values[known]))
    return found, total / np.bincount(at)

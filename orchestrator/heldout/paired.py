"""Cells compared on the test cases and training seeds that they share."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from orchestrator.heldout.contrasts import Contrast, Sides, contrast
from orchestrator.heldout.exchange import Matched, exchange_cells
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metric
from orchestrator.heldout.rows import SAMPLE, Cases, HeldOutRows, Indices, mean_of_classes
from orchestrator.statistics.estimates import Estimate, known
from orchestrator.statistics.multiple_testing import holm
from orchestrator.statistics.paired_tests import (
    TestResult,
    count_permutations,
    signed_rank,
)
from orchestrator.statistics.verdicts import Evidence, Sign
from trainables.metrics import Array, Metric

COUNTS = ("seeds", "images", "groups", "units")
COLUMNS = [
    *((name, pa.int64()) for name in COUNTS),
    *((name, pa.float64()) for name in ("value", "value_against")),
    *interval_columns(["difference"]),
    *((name, pa.float64()) for name in ("better", "false_outperformance")),
    *((name, pa.float64()) for name in ("wilcoxon_p", "permutation_p", "p_holm")),
    ("family", pa.int64()),
]
"""The columns of a paired difference, without those that identify it."""


class Counts(NamedTuple):
    """The numbers of seeds, images, groups and units that a comparison is computed from."""

    seeds: int
    images: int
    groups: int
    units: int
    """The number of resampling units (:func:`orchestrator.statistics.bootstrap.units`)."""


@dataclass(frozen=True)
class PairedDifference:
    """The metric of one cell minus that of another."""

    metric: Metric
    counts: Counts
    value: float
    value_against: float
    difference: Estimate
    better: float | None
    """The share of units on which the first cell is better; a tie counts half."""
    false_outperformance: float
    """The probability that the cell with the better value is not better; NaN if unknown."""
    by_seed_and_unit: Array | None
    """The difference of each seed and unit, [seeds, units]; None for a pooled metric."""
    test: TestResult
    """The test of no difference over units, conditional on the trained networks."""

    @property
    def columns(self) -> dict[str, Any]:
        """The columns ``metric`` and :data:`COLUMNS`, without ``p_holm`` and ``family``."""
        p = known(self.test.p)
        return {
            "metric": self.metric.name,
            **self.counts._asdict(),
            "value": self.value,
            "value_against": self.value_against,
            **self.difference.columns("difference"),
            "better": self.better,
            "false_outperformance": known(self.false_outperformance),
            "wilcoxon_p": p if self.test.name == "signed-rank" else None,
            "permutation_p": p if self.test.name == "permutation" else None,
        }


class Pairs:
    """Final cells that are compared with each other; intermediate results are kept.

    ``family`` is the number of pairs whose p-values are adjusted together.
    """

    def __init__(self, held_out: HeldOut, family: int = 1) -> None:
        self._draws = count_permutations(family)
        self._metrics, self._tables = held_out.metrics, held_out.tables
        both = [cell.trials[["digest", "seed"]] for cell in held_out.cells]
        seeds = {d: str(s) for trials in both for d, s in trials.itertuples(index=False)}
        place = {seed: i for i, seed in enumerate(sorted(set(seeds.values())))}
        self._seeds = {
            name: np.array([place[seeds[d]] for d in table.names["digest"]], np.int64)
            for name, table in self._tables.items()
        }
        self._sides: dict[tuple[str, tuple[str, ...]], Side] = {}

    def differences(self, one: FinalCell, other: FinalCell) -> Iterator[PairedDifference]:
        """The difference of the two cells in each metric.

        Only what both cells have is compared: the same training seed and the same case, so that
        variation which both share cancels. Units are groups of cases or cases
        (:func:`orchestrator.statistics.bootstrap.units`). The test is the signed-rank
        test over units, each the mean over cases and seeds; for a pooled metric, whose value is
        not a mean over cases, it is the permutation test that exchanges the cells within units.
        """
        yield from self.mean_differences([(one, other)])

    def mean_differences(
        self, matched: Sequence[tuple[FinalCell, FinalCell]]
    ) -> Iterator[PairedDifference]:
        """The mean over pairs of cells of the first minus the second, in each metric.

        It is computed and tested as :meth:`differences`, over what all cells have. No cell may be
        first in one pair and second in another.
        """
        cells = {cell.key: cell for pair in matched for cell in pair}
        place = {key: i for i, key in enumerate(cells)}
        pairs = [(place[one.key], place[other.key]) for one, other in matched]
        weights = np.zeros(len(cells))
        for one, other in pairs:
            weights[one] += 1 / len(pairs)
            weights[other] -= 1 / len(pairs)
        for metric, counts, by_class in self._shared(tuple(cells.values())):
            found = contrast(metric, by_class, weights.tolist())
            if found is not None:
                yield _difference(
                    metric, counts, Matched(by_class, pairs, weights), found, self._draws
                )

    def contrasts(
        self, cells: Sequence[FinalCell], weights: Sequence[float]
    ) -> Iterator[tuple[Metric, Counts, Contrast]]:
        """The weighted sum over cells of each metric, over the seeds and cases that all have."""
        for metric, counts, by_class in self._shared(tuple(cells)):
            found = contrast(metric, by_class, weights)
            if found is not None:
                yield metric, counts, found

    def _shared(self, cells: tuple[FinalCell, ...]) -> Iterator[tuple[Metric, Counts, list[Sides]]]:
        """Each metric with the rows that all cells have, class by class; none of other data."""
        if len({cell.data_hash for cell in cells}) > 1:
            return
        for name, table in self._tables.items():
            sides = [self._side(name, table, cell) for cell in cells]
            common = functools.reduce(_in_both, (side.keys for side in sides))
            if not len(common):
                continue
            by_class = list(zip(*(side.among(common) for side in sides), strict=True))
            for metric in (m for m in self._metrics if m.table == name):
                yield metric, _counts(metric, by_class), by_class

    def _side(self, name: str, table: HeldOutRows, cell: FinalCell) -> Side:
        digests = tuple(cell.digests)
        if (name, digests) not in self._sides:
            rows = table.indices(digests, SAMPLE)
            self._sides[name, digests] = Side(table, rows, self._seeds[name])
        return self._sides[name, digests]


def adjusted(rows: Iterable[dict[str, Any]], *family: str) -> list[dict[str, Any]]:
    """The rows with ``p_holm``: their p-value adjusted by Holm over all rows of their family.

    Rows with equal values in the columns ``family`` are one family; its size is added as
    ``family``.
    """
    listed = list(rows)
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in listed:
        families.setdefault(tuple(row[name] for name in family), []).append(row)
    for members in families.values():
        tests = [(row["wilcoxon_p"], row["permutation_p"]) for row in members]
        p = [next((p for p in either if p is not None), np.nan) for either in tests]
        size = int(np.isfinite(np.array(p, np.float64)).sum())
        for row, value in zip(members, holm(np.array(p, np.float64)).tolist(), strict=True):
            row |= {"p_holm": known(value), "family": size}
    return listed


def advantage(row: Mapping[str, Any]) -> Sign:
    """1 where the first cell is significantly better, −1 where it is significantly worse, else 0.

    ``row`` has the columns ``metric`` and :data:`COLUMNS`, as in the views ``ablation`` and
    ``twins``. Significant means that interval, adjusted test and most units agree
    (:mod:`orchestrator.statistics.verdicts`).
    """
    ends = [row[f"difference{end}"] for end in ("", "_low", "_high")]
    value, low, high = (math.nan if end is None else float(end) for end in ends)
    if load_metric(row["metric"]).better == "lower":
        value, low, high = -value, -high, -low
    gain = Estimate(value, low, high, row["difference_method"])
    p = math.nan if row["p_holm"] is None else float(row["p_holm"])
    return Evidence(gain, p, units=0, share_above=row["better"]).sign


class Side:
    """The rows of one cell in a table, identified by class, seed and case."""

    def __init__(self, table: HeldOutRows, rows: Indices, seeds: Indices) -> None:
        self._table, self._rows, self._runs = table, rows, seeds
        runs = seeds[table.codes["digest"][rows]]
        codes = (table.codes["class"][rows], runs, table.codes["case"][rows])
        sizes = (len(table.names["class"]), int(seeds.max(initial=0)) + 1, len(table.names["case"]))
        key = np.ravel_multi_index(codes, sizes)
        self.keys, self._key = np.unique(key, return_inverse=True)
        self._among: dict[bytes, list[Cases]] = {}

    def among(self, common: Indices) -> list[Cases]:
        """The cases of each class that have one of these keys."""
        name = common.tobytes()
        if name not in self._among:
            rows = self._rows[np.isin(self.keys, common)[self._key]]
            self._among[name] = list(self._table.by_class(rows, self._runs).values())
        return self._among[name]


def _in_both(one: Indices, other: Indices) -> Indices:
    if np.array_equal(one, other):
        return one
    return np.intersect1d(one, other, assume_unique=True)


def _counts(metric: Metric, by_class: Sequence[Sides]) -> Counts:
    """The counts of the rows for which a metric is defined on all sides; a pooled one has all."""
    known = [
        np.full(len(sides[0].cases), fill_value=True)
        if metric.pooled
        else np.isfinite(sum(side.per_case(metric) for side in sides))
        for sides in by_class
    ]

    def distinct(name: str) -> int:
        chosen = (getattr(s[0], name)[k] for s, k in zip(by_class, known, strict=True))
        return len(np.unique(np.concatenate(list(chosen))))

    return Counts(*(distinct(name) for name in ("runs", "cases", "groups", "units")))


def _difference(
    metric: Metric, counts: Counts, matched: Matched, found: Contrast, draws: int
) -> PairedDifference:
    ones, others = np.array(found.sides)[np.array(matched.pairs).T]
    per_unit = _unit_differences(metric, matched)
    gains = per_unit if metric.better == "higher" else -per_unit
    return PairedDifference(
        metric,
        counts,
        value=float(ones.mean()),
        value_against=float(others.mean()),
        difference=found.estimate,
        better=_share_above_zero(gains),
        false_outperformance=found.false_outperformance,
        by_seed_and_unit=found.by_seed_and_unit,
        test=exchange_cells(metric, matched, draws) if metric.pooled else signed_rank(per_unit),
    )


def _share_above_zero(gains: Array) -> float | None:
    """The share of positive gains, where a zero counts half; None without any."""
    if not len(gains):
        return None
    return float(np.where(gains > 0, 1.0, np.where(gains == 0, 0.5, 0.0)).mean())


def _unit_differences(metric: Metric, matched: Matched) -> Array:
    """The difference of each unit: the mean over cases and seeds, then over classes."""
    differences = [
        (sides[0].units, matched.weights @ np.stack([side.per_case(metric) for side in sides]))
        for sides in matched.by_class
    ]
    return mean_of_classes(differences)[1].round(12)  # a tie is no gain by a rounding error

"""Sets of trials compared on the cases that all were tested on, seed by seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.metrics import HeldOut
from orchestrator.heldout.rows import SAMPLE, Cases, HeldOutRows, Indices, mean_of_classes
from orchestrator.statistics import bootstrap
from orchestrator.statistics.multiple_testing import holm
from trainables.metrics import Array, Metric

NUMBERS = (
    "value",
    "value_against",
    "difference",
    "difference_low",
    "difference_high",
    "better",
    "wilcoxon_p",
    "permutation_p",
    "p_holm",
)
PERMUTATIONS = 2000, 20_000
"""Of which the first exchanges nothing: at least so many, and at most."""

COUNTED: dict[str, Callable[[Cases], Indices]] = {
    "seeds": lambda cases: cases.runs,
    "images": lambda cases: cases.cases,
    "groups": lambda cases: cases.groups,
    "units": lambda cases: cases.units,
}
COUNTS = tuple(COUNTED)
Sides = tuple[Cases, ...]
"""The same rows of one class, as each of some cells has them."""


class Pairs:
    """Cells of held-out trials, to be compared with each other; what one shares, it keeps.

    ``family`` is how many pairs share an adjustment by Holm: the more, the more often sides are
    exchanged, or no p-value could be small enough.
    """

    def __init__(self, held_out: HeldOut, family: int = 1) -> None:
        fewest, most = PERMUTATIONS
        self._draws = min(max(fewest, 40 * family), most)
        self._metrics, self._tables = held_out.metrics, held_out.tables
        both = [cell.trials[["digest", "seed"]] for cell in held_out.cells]
        seeds = {d: str(s) for trials in both for d, s in trials.itertuples(index=False)}
        place = {seed: i for i, seed in enumerate(sorted(set(seeds.values())))}
        self._seeds = {
            name: np.array([place[seeds[d]] for d in table.names["digest"]], np.int64)
            for name, table in self._tables.items()
        }
        self._sides: dict[tuple[str, tuple[str, ...]], Side] = {}

    def differences(self, one: FinalCell, other: FinalCell) -> Iterator[dict[str, Any]]:
        """One row per metric: both values, and the first less the second with its 95 % interval.

        Only what both cells have is compared: the same training seed and the same case. Seeds and
        units, which are groups of cases or cases (:mod:`orchestrator.statistics.bootstrap`), are
        resampled together, so that variation which both share cancels. ``better`` is the share of
        units (each the mean over cases and seeds) on which the first is better; a tie counts half.
        The hypothesis of no difference is tested over units, for the given networks:
        ``wilcoxon_p`` is the two-sided p-value of the signed-rank test (Wilcoxon 1945); a pooled
        metric has ``permutation_p`` instead, of a test that exchanges the two cells within units.
        """
        for metric, counts, by_class in self._shared((one, other)):
            numbers = _difference(metric, by_class, self._draws)
            if numbers is not None:
                yield {"metric": metric.name, **counts, **numbers}

    def interactions(
        self, base: FinalCell, one: FinalCell, other: FinalCell, both: FinalCell
    ) -> Iterator[dict[str, Any]]:
        """One row per metric: by how much more two changes do together than each by itself.

        ``interaction`` is (both − other) − (one − base) with its 95 % interval, over the seeds and
        cases that all four cells have.
        """
        for metric, counts, by_class in self._shared((base, one, other, both)):
            found = _estimates(metric, by_class)
            if found:
                signed = _with_ends("interaction", found, (1, -1, -1, 1))
                yield {"metric": metric.name, **counts, **signed}

    def _shared(
        self, cells: tuple[FinalCell, ...]
    ) -> Iterator[tuple[Metric, dict[str, int], list[Sides]]]:
        """Each metric with, class by class, what all of the cells have; and how much that is."""
        for name, table in self._tables.items():
            sides = [self._side(name, table, cell) for cell in cells]
            common = functools.reduce(_in_both, (side.keys for side in sides))
            if not len(common):
                continue
            by_class = list(zip(*(side.among(common) for side in sides), strict=True))
            firsts = [first for first, *_ in by_class]
            counts = {
                name: len({one for first in firsts for one in np.unique(of(first))})
                for name, of in COUNTED.items()
            }
            for metric in (m for m in self._metrics if m.table == name):
                yield metric, counts, by_class

    def _side(self, name: str, table: HeldOutRows, cell: FinalCell) -> Side:
        digests = tuple(cell.digests)
        if (name, digests) not in self._sides:
            mine = table.indices(digests, SAMPLE)
            self._sides[name, digests] = Side(table, mine, self._seeds[name])
        return self._sides[name, digests]


def adjusted(rows: Iterable[dict[str, Any]], *family: str) -> list[dict[str, Any]]:
    """The same rows with ``p_holm``: their p-value, whichever they have, adjusted by Holm over all
    rows that agree in the columns of ``family``.
    """
    listed = list(rows)
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in listed:
        families.setdefault(tuple(row[name] for name in family), []).append(row)
    for alike in families.values():
        tests = [(row["wilcoxon_p"], row["permutation_p"]) for row in alike]
        p = [next((p for p in either if p is not None), np.nan) for either in tests]
        for row, value in zip(alike, holm(np.array(p, np.float64)).tolist(), strict=True):
            row["p_holm"] = None if np.isnan(value) else value
    return listed


class Side:
    """One cell's rows of a table, by class, seed and case: what two cells may have in common."""

    def __init__(self, table: HeldOutRows, rows: Indices, seeds: Indices) -> None:
        self._table, self._rows, self._runs = table, rows, seeds[table.codes["digest"]]
        codes = (table.codes["class"], self._runs, table.codes["case"])
        sizes = (len(table.names["class"]), int(seeds.max(initial=0)) + 1, len(table.names["case"]))
        key = np.ravel_multi_index([code[rows] for code in codes], sizes)
        self.keys, self._key = np.unique(key, return_inverse=True)
        self._found: dict[bytes, list[Cases]] = {}

    def among(self, common: Indices) -> list[Cases]:
        """Of each class, the rows with these keys."""
        name = common.tobytes()
        if name not in self._found:
            rows = self._rows[np.isin(self.keys, common)[self._key]]
            self._found[name] = list(self._table.by_class(rows, self._runs).values())
        return self._found[name]


def _in_both(one: Indices, other: Indices) -> Indices:
    if np.array_equal(one, other):
        return one
    return np.intersect1d(one, other, assume_unique=True)


Estimates = list[tuple[tuple[float, Array], ...]]
"""Per class and side: a metric's value, and that of each resample."""


def _difference(metric: Metric, by_class: list[Sides], draws: int) -> dict[str, Any] | None:
    found = _estimates(metric, by_class)
    if not found:
        return None
    here, there = (float(np.mean([sides[i][0] for sides in found])) for i in (0, 1))
    apart = _apart(metric, by_class)
    ahead = apart if metric.better == "higher" else -apart
    return {
        "value": here,
        "value_against": there,
        **_with_ends("difference", found, (1, -1)),
        "better": float(np.mean((ahead > 0) + (ahead == 0) / 2)) if len(ahead) else None,
        "wilcoxon_p": None if metric.pooled else _wilcoxon(apart),
        "permutation_p": _permutation(metric, by_class, draws) if metric.pooled else None,
    }


def _with_ends(name: str, found: Estimates, signs: Sequence[int]) -> dict[str, float]:
    """The mean over classes of the signed sum over sides, and its interval."""
    weights = np.array(signs, np.float64)
    value = np.mean([weights @ np.array([value for value, _ in sides]) for sides in found])
    resampled = [weights @ np.stack([drawn for _, drawn in sides]) for sides in found]
    low, high = bootstrap.interval(np.mean(resampled, axis=0))
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}


def _estimates(metric: Metric, by_class: list[Sides]) -> Estimates:
    """Of the classes that the metric can tell something of on every side."""
    found = [_values(metric, sides) for sides in by_class]
    return [sides for sides in found if not any(np.isnan(value) for value, _ in sides)]


def _values(metric: Metric, sides: Sides) -> tuple[tuple[float, Array], ...]:
    """Each side's value over the cases that the metric can tell something of on all of them."""
    if not metric.pooled:
        known = [~np.isnan(side.per_case(metric)) for side in sides]
        everywhere = np.logical_and.reduce(known)
        if any(not np.array_equal(everywhere, mine) for mine in known):
            return tuple(side.estimate(metric, everywhere) for side in sides)
    return tuple(side.estimate(metric) for side in sides)


def _apart(metric: Metric, by_class: list[Sides]) -> Array:
    """The difference of each unit: the mean over cases and seeds, then over classes."""
    apart = [(one.units, one.per_case(metric) - other.per_case(metric)) for one, other in by_class]
    return mean_of_classes(apart)[1]


def _wilcoxon(apart: Array) -> float:
    from scipy import stats  # half a second to import, which only this needs

    moved = apart[apart != 0]  # as the test does; but with zeros SciPy enumerates signs, slowly
    return float(cast("Any", stats.wilcoxon(moved)).pvalue) if len(moved) else 1.0


def _permutation(metric: Metric, by_class: list[Sides], draws: int) -> float | None:
    """Two-sided p-value: if the sides do not differ, either may have made either's pixels. None
    where no class has a value in every draw.

    What was found counts as one of the draws (Phipson & Smyth 2010, SAGMB 9:39), so that the value
    is never 0; all cases, seeds and classes of a unit are exchanged together.
    """
    names = np.unique(np.concatenate([one.units for one, _ in by_class]))
    exchanged = _exchanges(len(names), draws)
    apart: list[Array] = []
    for one, other in by_class:
        sums, others = one.sums(metric.resolution), other.sums(metric.resolution)
        here = exchanged[:, np.searchsorted(names, one.units)]
        moved = {k: here @ (others[k] - sums[k]) for k in sums}
        first = metric.value({k: sums[k].sum(0) + moved[k] for k in sums})
        apart.append(first - metric.value({k: others[k].sum(0) - moved[k] for k in sums}))
    known = [a for a in apart if not np.isnan(a).any()]
    if not known:
        return None
    size = np.abs(np.mean(known, axis=0))
    return float(np.mean(size >= size[0] - 1e-12))


@functools.lru_cache(maxsize=32)
def _exchanges(units: int, draws: int) -> Array:
    """Which units change sides in each draw, 0 or 1: [draws, units]."""
    drawn = np.random.default_rng(0).integers(0, 2, (draws, units)).astype(np.float64)
    drawn[0] = 0
    return drawn

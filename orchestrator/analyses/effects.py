"""Effects of factors: the mean of each level over the other factors, and against the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout import paired
from orchestrator.heldout.baselines import called, factor_values
from orchestrator.heldout.final_cells import FinalCell, cells_by_task
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metrics

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "ece")
TESTED = (
    *(f"difference{end}" for end in ("", "_low", "_high", "_method")),
    *("better", "false_outperformance", "wilcoxon_p", "permutation_p", "p_holm", "family"),
)
"""The columns of a paired difference that a level has."""
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "metric", "factor", "level", "baseline")),
        *((k, pa.int64()) for k in ("cells", "pairs", *paired.COUNTS)),
        *interval_columns(["value"]),
        *(column for column in paired.COLUMNS if column[0] in TESTED),
    ]
)
Level = tuple[str, ...]


@dataclass(frozen=True)
class Factor:
    """Fields of the configs that vary together, and the level of each cell that has them."""

    paths: tuple[str, ...]
    levels: Mapping[int, Level]
    """By the place of the cell."""


def rows(tables: Catalog) -> pa.Table:
    """One row per study, task, metric, factor and level, over finished final trials.

    A factor is a field of the configs that varies between the cells of a task (``mode.schedule``,
    ``mode.t_low``); fields that only vary together are one factor. ``value`` is the mean of the
    metric over the ``cells`` at this level, whatever their other factors, over the seeds and cases
    that all of them have. ``difference`` is the mean over ``pairs`` of cells that are equal in all
    other fields that both have, of the one at this level minus the one at the level ``baseline``,
    paired by seed and case. It is null at the baseline itself, and where no pair is equal
    otherwise. Both have 95 % intervals. The difference is tested as in the view ``ablation``
    (:meth:`orchestrator.heldout.paired.Pairs.mean_differences`), and ``p_holm`` is adjusted over
    all ``family`` differences of one study, task and metric. ``baseline`` is the level of the
    study's named baseline, or else of its first cell. Factors without any pair are left out.
    ``seeds``, ``images``, ``groups`` and ``units`` count what ``difference`` is computed from, at
    the baseline ``value``.
    """
    held_out = HeldOut(tables, load_metrics(METRICS, tables.metrics))
    by_task = cells_by_task(held_out.cells)
    settings_of = {
        key: [dict(factor_values(c.config)) for c in cells] for key, cells in by_task.items()
    }
    factors_of = {key: factors(settings) for key, settings in settings_of.items()}
    sizes = [sum(len(set(f.levels.values())) for f in listed) for listed in factors_of.values()]
    pairs = paired.Pairs(held_out, max(sizes, default=1))
    found: list[dict[str, Any]] = []
    for (study, task), cells in by_task.items():
        settings = settings_of[study, task]
        base = _base(cells)
        for factor in factors_of[study, task]:
            level = factor.levels.get(base, next(iter(factor.levels.values())))
            against = {
                other: _matches(settings, factor, other, level)
                for other in dict.fromkeys(factor.levels.values())
            }
            key = {"study": study, "task": task, "factor": ", ".join(factor.paths)}
            for other, matched in against.items() if any(against.values()) else ():
                names = {"level": ", ".join(other), "baseline": ", ".join(level)}
                found += (key | names | row for row in _level(pairs, cells, factor, other, matched))
    return pa.Table.from_pylist(paired.adjusted(found, "study", "task", "metric"), schema=SCHEMA)


def factors(settings: Sequence[Mapping[str, str]]) -> list[Factor]:
    """The factors of cells, from the value of each cell at each path that it has."""
    paths = dict.fromkeys(path for cell in settings for path in cell)
    together: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for path in paths:
        values = {i: cell[path] for i, cell in enumerate(settings) if path in cell}
        numbers = {value: n for n, value in enumerate(dict.fromkeys(values.values()))}
        if len(numbers) > 1:
            pattern = tuple((i, numbers[value]) for i, value in values.items())
            together.setdefault(pattern, []).append(path)
    return [
        Factor(tuple(names), {i: tuple(settings[i][name] for name in names) for i, _ in pattern})
        for pattern, names in together.items()
    ]


def _base(cells: Sequence[FinalCell]) -> int:
    """The place of the first cell that is the named baseline, or else of the first cell."""
    name = cells[0].baseline
    if name is None:
        return 0
    names = called(name, [(cell.cell, cell.arm) for cell in cells])
    return next((i for i, cell in enumerate(cells) if cell.cell in names), 0)


def _matches(
    settings: Sequence[Mapping[str, str]], factor: Factor, level: Level, base: Level
) -> list[tuple[int, int]]:
    """The pairs of a cell at a level and one at the base that differ in the factor alone."""
    if level == base:
        return []
    ours, bases = (
        [i for i, found in factor.levels.items() if found == wanted] for wanted in (level, base)
    )
    return [
        (one, other)
        for one, other in product(ours, bases)
        if all(
            settings[one][path] == settings[other][path]
            for path in (settings[one].keys() & settings[other].keys()) - set(factor.paths)
        )
    ]


def _level(
    pairs: paired.Pairs,
    cells: Sequence[FinalCell],
    factor: Factor,
    level: Level,
    matched: list[tuple[int, int]],
) -> Iterator[dict[str, Any]]:
    """The rows of one level, by metric."""
    places = [i for i, found in factor.levels.items() if found == level]
    at_level = [cells[i] for i in places]
    between = [(cells[one], cells[other]) for one, other in matched]
    differences = pairs.mean_differences(between) if between else ()
    tested = {found.metric.name: found.columns for found in differences}
    for metric, counts, mean in pairs.contrasts(at_level, [1 / len(places)] * len(places)):
        difference = tested.get(metric.name, {})
        yield {
            "metric": metric.name,
            "cells": len(places),
            "pairs": len(matched),
            **{name: difference.get(name, count) for name, count in counts._asdict().items()},
            **mean.estimate.columns("value"),
            **{name: difference.get(name) for name in TESTED},
        }

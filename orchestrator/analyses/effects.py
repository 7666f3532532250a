"""Effects of factors: the mean of each level over the other factors, and against the baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout import paired
from orchestrator.heldout.baselines import called, fields
from orchestrator.heldout.contrasts import Contrast
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metrics

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "ece")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "metric", "factor", "level", "baseline")),
        *((k, pa.int64()) for k in ("cells", "pairs", *paired.COUNTS)),
        *interval_columns(["value", "difference"]),
        ("false_outperformance", pa.float64()),
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
    otherwise. Both have 95 % intervals (:class:`orchestrator.heldout.paired.Pairs`);
    ``false_outperformance`` is the probability that the difference has the other sign. ``baseline``
    is the level of the study's named baseline, or else of its first cell. Factors without any pair
    are left out. ``seeds``, ``images``, ``groups`` and ``units`` count what ``difference`` is
    computed from, at the baseline ``value``.
    """
    held_out = HeldOut(tables, load_metrics(METRICS))
    pairs = paired.Pairs(held_out)
    by_task: dict[tuple[str, str], list[FinalCell]] = {}
    for cell in held_out.cells:
        by_task.setdefault((cell.study, cell.task), []).append(cell)
    found: list[dict[str, Any]] = []
    for (study, task), cells in by_task.items():
        settings = [dict(fields(cell.config)) for cell in cells]
        base = _base(cells)
        for factor in factors(settings):
            level = factor.levels.get(base, next(iter(factor.levels.values())))
            against = {
                other: _matches(settings, factor, other, level)
                for other in dict.fromkeys(factor.levels.values())
            }
            key = {"study": study, "task": task, "factor": ", ".join(factor.paths)}
            for other, matched in against.items() if any(against.values()) else ():
                names = {"level": ", ".join(other), "baseline": ", ".join(level)}
                found += (key | names | row for row in _level(pairs, cells, factor, other, matched))
    return pa.Table.from_pylist(found, schema=SCHEMA)


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
    means = _weighted(pairs, cells, {i: 1 / len(places) for i in places})
    weights = Counter[int]()
    for one, other in matched:
        weights[one] += 1
        weights[other] -= 1
    shares = {i: weight / len(matched) for i, weight in weights.items()}
    differences = _weighted(pairs, cells, shares) if matched else {}
    for metric, mean in means.items():
        found = differences.get(metric)
        counts, effect = mean[0], {}
        if found is not None:
            counts, effect = found[0], found[1].estimate.columns("difference")
            effect |= {"false_outperformance": paired.known(found[1].false_outperformance)}
        yield {
            "metric": metric,
            "cells": len(places),
            "pairs": len(matched),
            **counts._asdict(),
            **mean[1].estimate.columns("value"),
            **effect,
        }


def _weighted(
    pairs: paired.Pairs, cells: Sequence[FinalCell], weights: Mapping[int, float]
) -> dict[str, tuple[paired.Counts, Contrast]]:
    """The weighted sum over cells of each metric that all have, by name."""
    chosen = {i: weight for i, weight in weights.items() if weight}
    found = pairs.contrasts([cells[i] for i in chosen], list(chosen.values()))
    return {metric.name: (counts, sums) for metric, counts, sums in found}

"""Interactions: how the effect of one change depends on another change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.heldout import paired
from orchestrator.heldout.baselines import factor_values, varying
from orchestrator.heldout.final_cells import cells_by_task
from orchestrator.heldout.metrics import HeldOut, interval_columns, load_metrics

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

METRICS = ("dice", "ece")
MOST = 100
"""The most blocks per study and task; those of the first cells are taken."""
AXES = ("axis", "axis_from", "axis_to", "other_axis", "other_from", "other_to")
CELLS = ("base", "one", "other", "both")
SIGNS = (1, -1, -1, 1)
Settings = dict[str, str]
"""The value of a cell on each axis."""
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "metric", *AXES, *CELLS)),
        *((k, pa.int64()) for k in paired.COUNTS),
        *interval_columns(["interaction"]),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, task, metric and 2 × 2 block of cells.

    A block consists of ``base``, ``one`` with one change, ``other`` with another change, and
    ``both``. ``interaction`` is (both − other) − (one − base) in the unit of the metric, with its
    95 % interval, paired by seed and case
    (:meth:`orchestrator.heldout.paired.Pairs.contrasts`); it is 0 if the effects are additive.
    ``axis``, ``axis_from`` and ``axis_to`` describe the first change, ``other_axis``,
    ``other_from`` and ``other_to`` the second.

    Axes are the fields of the configs that vary between the cells of a task (``mode.members``,
    ``mode.schedule``); fields that only vary together, such as both ends of a timestep range, are
    one axis. Every block appears once, at most 100 of them per study and task. ``seeds``,
    ``images``, ``groups`` and ``units`` count what all four cells have.
    """
    held_out = HeldOut(tables, load_metrics(METRICS, tables.metrics))
    pairs = paired.Pairs(held_out)
    found: list[dict[str, Any]] = []
    for (study, task), cells in cells_by_task(held_out.cells).items():
        settings = _settings([cell.config for cell in cells])
        for block in islice(_blocks(settings), MOST):
            key = {"study": study, "task": task}
            key |= {k: cells[i].cell for k, i in zip(CELLS, block, strict=True)}
            key |= _changed(*(settings[i] for i in block[:3]))
            found += [
                key
                | {"metric": metric.name, **counts._asdict()}
                | effect.estimate.columns("interaction")
                for metric, counts, effect in pairs.contrasts([cells[i] for i in block], SIGNS)
            ]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _settings(configs: list[dict[str, Any]]) -> list[Settings]:
    """The values of each config on the fields that vary; a field that it lacks is empty."""
    values = [dict(factor_values(config)) for config in configs]
    axes = varying(values)
    return [{path: each.get(path, "") for path in axes} for each in values]


def _blocks(settings: list[Settings]) -> Iterator[tuple[int, int, int, int]]:
    """Places of base, one, other and both in each block; the base is the earliest cell."""
    place = {tuple(cell.items()): i for i, cell in reversed(list(enumerate(settings)))}
    for i, base in enumerate(settings):
        near = [j for j in _near(base, settings) if j > i]
        for j, k in combinations(near, 2):
            one, other = (_change(base, settings[n]) for n in (j, k))
            both = place.get(tuple({**base, **one, **other}.items()), -1)
            if not one.keys() & other.keys() and both > i:
                yield i, j, k, both


def _near(base: Settings, settings: list[Settings]) -> Iterator[int]:
    """Cells that differ from one, unless a part of their change is another cell's change."""
    changes = [_change(base, cell) for cell in settings]
    for j, change in enumerate(changes):
        parts = (c for c in changes if c and len(c) < len(change))
        if change and not any(part.items() < change.items() for part in parts):
            yield j


def _change(base: Settings, cell: Settings) -> Settings:
    return {axis: value for axis, value in cell.items() if value != base[axis]}


def _changed(base: Settings, one: Settings, other: Settings) -> dict[str, str]:
    """The columns of the two changes; fields that only one of two parts has are left out."""
    texts: list[str] = []
    for change in (_change(base, one), _change(base, other)):
        axes = [axis for axis, value in change.items() if value and base[axis]]
        before, after = ([side[axis] for axis in axes] for side in (base, change))
        texts += map(", ".join, (axes, before, after))
    return dict(zip(AXES, texts, strict=True))

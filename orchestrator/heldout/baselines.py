"""The baseline that a study names, and the cell that each other cell is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from orchestrator.heldout.final_cells import FinalCell, tested


def called(name: str, cells: Iterable[tuple[str, str]]) -> set[str]:
    """The names of the cells that a baseline's name means, among pairs of cell and arm.

    It is the name of an arm, or else the label of a grid value.
    """
    listed = list(cells)
    of_arm = {cell for cell, arm in listed if arm == name}
    return of_arm or {cell for cell, arm in listed if name in grid_labels(cell, arm)}


def grid_labels(cell: str, arm: str) -> list[str]:
    """The labels of the grid values in a cell's name, which ends with the arm's."""
    return [label for label in cell.removesuffix(arm).split("_") if label]


def against_baseline(
    cells: Sequence[FinalCell], name: str
) -> Iterator[tuple[FinalCell, FinalCell]]:
    """Each cell that is not a baseline, with the baseline of its task that is nearest to it.

    Nearest is the one whose config has the fewest other settings, so that cells of a grid are
    compared at equal other factors.
    """
    baselines = called(name, [(cell.cell, cell.arm) for cell in cells])
    settings = {cell.key: dict(factor_values(cell.config)) for cell in cells}
    for cell in cells:
        candidates = [b for b in cells if b.cell in baselines and b.task == cell.task]
        if cell.cell not in baselines and candidates:
            ours = settings[cell.key]
            yield cell, min(candidates, key=lambda b: len(_differing(ours, settings[b.key])))


def factor_values(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The path and the value of every field of a config that may be a factor.

    The seed is none, because seeds are paired, nor is the data set that is tested, because tasks
    are separate. In an external test the data set of the training, ``task``, is one.

    The name of a part is the value at the part's path and not in the paths of its fields, so that
    a field that two parts share has one path.
    """
    no_factor = {"seed"} if tested(config) != config.get("task") else {"seed", "task"}
    return _fields("", {k: v for k, v in config.items() if k not in no_factor})


def varying(cells: Iterable[Mapping[str, str]]) -> list[str]:
    """The paths at which cells, each with its :func:`factor_values`, have different values."""
    values: dict[str, set[str]] = {}
    for cell in cells:
        for path, value in cell.items():
            values.setdefault(path, set()).add(value)
    return [path for path, found in values.items() if len(found) > 1]


def _fields(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, value if isinstance(value, str) else json.dumps(value)
        return
    inside = cast("dict[str, Any]", value)
    name, inner = next(iter(inside.items()), ("", None))
    if path and len(inside) == 1 and isinstance(inner, dict):
        yield path, name
        inside = cast("dict[str, Any]", inner)
    for k, v in inside.items():
        yield from _fields(f"{path}.{k}" if path else k, v)


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}

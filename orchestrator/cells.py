"""From a space to its cells, and from a cell to checked configs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, cast

from orchestrator.needs import most
from search_spaces import Choice, Each, Hole, Integer, Search, Space, Uniform, put, walk
from trainables.config import Config, parse
from trainables.record import Outcome

Values = dict[str, Any]
"""What fills the searched holes, by path; a Choice is filled by one of its names."""


@dataclass(frozen=True)
class Cell:
    """One combination of grid values and arm: what a study compares."""

    name: str
    arm: str
    template: Mapping[str, Any]
    """A config in plain form; only searched holes are left in it."""

    @cached_property
    def searched(self) -> bool:
        """Whether anything is left to search."""
        return any(True for _ in walk(self.template))

    @cached_property
    def corners(self) -> list[Values]:
        """Values that between them use every choice and both ends of every range."""
        return list(corners(self.template)) if self.searched else [{}]

    def config(self, values: Values, overrides: Mapping[str, Any], seed: int) -> Config:
        """The config with its holes filled.

        Raises:
            ValueError: a value is outside its domain; the message starts with the cell's name.
        """
        if not (self.searched or overrides):
            return replace(self._enumerated, seed=seed) if seed else self._enumerated
        filled: Any = fill(self.template, values)
        for path, value in overrides.items():
            filled = put(filled, path, value)
        return self._parsed({"seed": seed, **filled})

    @cached_property
    def _enumerated(self) -> Config:
        """What a cell without holes is: parsed once for all its seeds."""
        return self._parsed(self.template)

    def _parsed(self, filled: Mapping[str, Any]) -> Config:
        try:
            return parse(filled)
        except ValueError as error:
            raise ValueError(f"cell {self.name}: {error}") from None


@dataclass(frozen=True)
class Past:
    """One searched trial that was suggested before; not yet committed where outcome is None."""

    values: Values
    outcome: Outcome | None
    score: float | None


def cells(space: Space) -> list[Cell]:
    """All cells of a space, tasks outermost, arms in the order given."""
    found: list[Cell] = []
    for arm, overrides in space.arms.items():
        if "seed" in {*space.config, *overrides}:
            raise ValueError("space: seed is not set in a config; use replicates=N")
        template: dict[str, Any] = dict(space.config)
        for path, value in overrides.items():
            template = put(template, path, value)
        grid = [(path, hole) for path, hole in walk(template) if isinstance(hole, Each)]
        axes = [zip(hole.values, _labels(hole.values), strict=True) for _, hole in grid]
        for picked in itertools.product(*axes):
            labels = [label for _, label in picked]
            filled = template
            for (path, _), (value, _) in zip(grid, picked, strict=True):
                filled = put(filled, path, value)
            nested = [path for path, hole in walk(filled) if isinstance(hole, Each)]
            if nested:
                raise ValueError(f"space: Each at {nested[0]} is inside another hole; use an arm")
            found.append(Cell("_".join([*labels, arm]), arm, filled))
    repeated = sorted(name for name, n in Counter(c.name for c in found).items() if n > 1)
    if repeated:
        raise ValueError(f"space: cells must differ in name, these do not: {repeated}")
    if any(cell.searched for cell in found) and space.search is None:
        raise ValueError("space: it has searched holes, so it needs search=Search(trials=...)")
    order = {arm: i for i, arm in enumerate(space.arms)}
    seen = _first_seen(found)
    return sorted(found, key=lambda c: (seen[c.name.removesuffix(c.arm)], order[c.arm]))


def fill(template: Any, values: Values, path: str = "") -> Any:
    """The template with every searched hole replaced by its value."""
    if isinstance(template, Choice):
        name = values[path]
        return {name: fill(template.values[name], values, f"{path}.{name}")}
    if isinstance(template, Hole):
        return values[path]
    if isinstance(template, Mapping):
        items: Mapping[str, Any] = template
        return {k: fill(v, values, f"{path}.{k}" if path else k) for k, v in items.items()}
    return template


def fits(template: Any, values: Values) -> bool:
    """Whether the values fill exactly the holes that they open, each within its domain."""
    open_holes: dict[str, Hole] = {}

    def visit(value: Any, path: str) -> bool:
        if isinstance(value, Choice):
            open_holes[path] = value
            name = str(values.get(path))
            return name in value.values and visit(value.values[name], f"{path}.{name}")
        if isinstance(value, (Uniform, Integer)):
            open_holes[path] = value
            return path in values and value.low <= values[path] <= value.high
        if isinstance(value, Mapping):
            items: Mapping[str, Any] = value
            return all(visit(v, f"{path}.{k}" if path else k) for k, v in items.items())
        return True

    return visit(template, "") and open_holes.keys() == values.keys()


def corners(template: Mapping[str, Any]) -> Iterator[Values]:
    """Values that between them use every choice and both ends of every range."""
    holes = list(walk(template))
    choices = [(path, hole) for path, hole in holes if isinstance(hole, Choice)]
    ranges = {path: hole for path, hole in holes if isinstance(hole, (Uniform, Integer))}
    for end in ("low", "high") if ranges else ("low",):
        ends = {path: getattr(hole, end) for path, hole in ranges.items()}
        first = {path: next(iter(hole.values)) for path, hole in choices}
        yield {**ends, **first}
        for path, hole in choices:
            for name in list(hole.values)[1:]:
                yield {**ends, **first, path: name}


def check(space: Space) -> list[Cell]:
    """All cells, after every corner of every one was parsed: errors come before Ray starts."""
    checked = cells(space)
    places: dict[str, str] = {}
    for cell in checked:
        task = cell.config(cell.corners[0], {}, seed=0).task
        known = places.setdefault(task.title, task.where)
        if known != task.where:
            raise ValueError(
                f"cell {cell.name}: two data sets are called {task.title}: {known} and"
                f" {task.where}; one must have another name"
            )
        stages: list[Mapping[str, Any]] = [{}]
        if cell.searched and space.search is not None:
            stages.append(space.search.overrides)
            _check_rungs(cell, space.search)
        for overrides in stages:
            for values in cell.corners:
                config = cell.config(values, overrides, seed=0)
                if config.train.batch < most(space.workers):
                    raise ValueError(
                        f"cell {cell.name}: train.batch={config.train.batch} must be at least"
                        f" {most(space.workers)}, the number of workers"
                    )
    return checked


def _check_rungs(cell: Cell, search: Search) -> None:
    """A rung that is no validation step would never stop anything."""
    every = cell.config(cell.corners[0], search.overrides, 0).train.validate_every
    for rung in search.rungs:
        if rung % every != 0:
            raise ValueError(
                f"cell {cell.name}: rung {rung} must be a multiple of train.validate_every={every}"
            )


def _labels(values: tuple[Any, ...]) -> list[str]:
    """Short names for grid values: a part's name, or the value itself.

    Where several of the values are the same part, the fields in which they differ are added.
    """
    named = [_named(value) for value in values]
    rivals: dict[str, list[Mapping[str, Any]]] = {}
    for name, fields in named:
        rivals.setdefault(name, []).append(fields)
    differing = {
        name: {k for f in same for k in f if f.get(k) != same[0].get(k)}
        | {k for k in same[0] if any(f.get(k) != same[0][k] for f in same)}
        for name, same in rivals.items()
    }
    labels: list[str] = []
    for name, fields in named:
        told = [
            str(v).rstrip("/").rpartition("/")[2] for k, v in fields.items() if k in differing[name]
        ]
        words = [re.sub(r"[^A-Za-z0-9.-]+", "", word) for word in (name, *told)]
        labels.append("-".join(filter(None, words)) or "value")
    return labels


def _named(value: Any) -> tuple[str, Mapping[str, Any]]:
    """A part's name, the stem of its file where it is the user's own, and its fields."""
    fields: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        value, first = next(iter(given.items()), ("", None))
        single = len(given) == 1 and isinstance(first, Mapping)
        fields = cast("Mapping[str, Any]", first) if single else given
    name = str(value)
    return (PurePosixPath(name).stem if name.endswith(".py") else name), fields


def _first_seen(found: list[Cell]) -> dict[str, int]:
    """Position of the first cell whose name begins so, for every beginning at a ``_``."""
    seen = {"": 0}
    for i, cell in enumerate(found):
        for end, letter in enumerate(cell.name):
            if letter == "_":
                seen.setdefault(cell.name[: end + 1], i)
    return seen

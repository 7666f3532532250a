"""From a space to its cells, and from a cell to checked configs."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.planning.validation import check_search, check_shares
from search_spaces import Each, Space, put, walk
from search_spaces._holes import Values, corners, drawn, fill
from search_spaces._labels import labels
from search_spaces._rules import AbsentError, holds, look_up, paths
from trainables.config import Config, parse
from trainables.models import require_installed


@dataclass(frozen=True)
class Cell:
    """One combination of grid values and arm: what a study compares."""

    name: str
    arm: str
    template: Mapping[str, Any]
    """A config in plain form; only searched holes are left in it."""
    constraints: tuple[str, ...] = ()

    @cached_property
    def searched(self) -> bool:
        """Whether anything is left to search."""
        return any(True for _ in walk(self.template))

    @cached_property
    def corners(self) -> list[Values]:
        """Values that keep the constraints and that, but for those, use every choice and both ends
        of every range between them.
        """
        every = list(corners(self.template)) if self.searched else [{}]
        return [values for values in every if self.keeps(values)]

    @cached_property
    def example(self) -> Values:
        """Values that stand for all: a corner that makes a config, or else a draw that does.

        Raises:
            ValueError: nothing keeps the constraints.
        """
        if not self.constraints:
            return self.corners[0]
        for values in itertools.chain(self.corners, drawn(self.template)):
            if self.possible(values):
                return values
        for values in self.corners:
            self.config(values, {}, seed=0)  # raises, and says why it makes none
        raise ValueError(
            f"cell {self.name}: nothing keeps the constraints {list(self.constraints)}"
        )

    def config(self, values: Values, overrides: Mapping[str, Any], seed: int) -> Config:
        """The config with its holes filled.

        Raises:
            ValueError: a value is outside its domain; the message starts with the cell's name.
        """
        if not (self.searched or overrides):
            return dataclasses.replace(self._enumerated, seed=seed) if seed else self._enumerated
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

    def plain(self, values: Values) -> Mapping[str, Any]:
        """The filled config's plain form: whole where there is such a config, else as written."""
        try:
            return self.config(values, {}, seed=0).plain()
        except ValueError:
            return fill(self.template, values)

    def keeps(self, values: Values) -> bool:
        """Whether some values keep all constraints."""
        if not self.constraints:
            return True
        plain = self.plain(values)
        return all(holds(rule, plain) for rule in self.constraints)

    def possible(self, values: Values) -> bool:
        """Whether values keep all constraints and make a config."""
        try:
            self.config(values, {}, seed=0)
        except ValueError:
            return False
        return self.keeps(values)

    @property
    def ruled_out(self) -> bool:
        """Whether a constraint that no searched value can change is broken."""
        open_paths = tuple(path for path, _ in walk(self.template))

        def fixed(rule: str) -> bool:
            return not any(
                f"{name}.".startswith(f"{p}.") for name in paths(rule) for p in open_paths
            )

        rules = tuple(rule for rule in self.constraints if fixed(rule))
        first = next(corners(self.template))
        return not dataclasses.replace(self, constraints=rules).keeps(first)


def cells(space: Space) -> list[Cell]:
    """All cells that keep the space's constraints: tasks outermost, arms in the order given.

    Raises:
        ValueError: no config can be what the space asks for, or there are more trials than it may
            have: the message says how many each hole brings.
    """
    found: dict[tuple[str, ...], Cell] = {}
    trials = 0
    for arm, template in templates(space):
        grid = _grid(template)
        axes = [zip(hole.values, labels(hole.values), strict=True) for _, hole in grid]
        for picked in itertools.product(*axes):
            words = [label for _, label in picked]
            filled = _filled(template, grid, [value for value, _ in picked])
            cell = Cell("_".join([*words, arm]), arm, filled, space.constraints)
            if space.constraints and cell.ruled_out:
                continue
            if (*words, arm) in found:
                raise ValueError(f"space: cells must differ in name, two are called {cell.name}")
            found[*words, arm] = cell
            trials += space.replicates
            if cell.searched:
                if space.search is None:
                    raise ValueError(
                        "space: it has searched holes, so it needs search=Search(trials=...)"
                    )
                trials += space.search.trials
            if trials > space.most:
                raise ValueError(_explosion(space))
    if not found:
        raise ValueError(f"space: the constraints leave no cell: {list(space.constraints)}")
    return [found[key] for key in sorted(found, key=_order(found, list(space.arms)))]


def templates(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each arm with the config that it lays over the space's."""
    for arm, overrides in space.arms.items():
        if "seed" in {*space.config, *overrides}:
            raise ValueError("space: seed is not set in a config; use replicates=N")
        template: dict[str, Any] = dict(space.config)
        for path, value in overrides.items():
            template = put(template, path, value)
        yield arm, template


def left_out(space: Space) -> int:
    """How many cells the constraints leave out."""
    return len(_unconstrained(space)) - len(cells(space)) if space.constraints else 0


def _unconstrained(space: Space) -> list[Cell]:
    return cells(dataclasses.replace(space, constraints=(), most=sys.maxsize))


Grid = list[tuple[str, Each]]


def _grid(template: Mapping[str, Any]) -> Grid:
    return [(path, hole) for path, hole in walk(template) if isinstance(hole, Each)]


def _filled(template: dict[str, Any], grid: Grid, picked: list[Any]) -> dict[str, Any]:
    """The template with its grid values in it."""
    for (path, _), value in zip(grid, picked, strict=True):
        template = put(template, path, value)
    nested = _grid(template)
    if nested:
        raise ValueError(f"space: Each at {nested[0][0]} is inside another hole; use an arm")
    return template


def _order(
    found: Iterable[tuple[str, ...]], arms: list[str]
) -> Callable[[tuple[str, ...]], tuple[tuple[int, ...], int]]:
    """By grid values, each in the order in which it was given; then by arm."""
    ranks: dict[tuple[int, str], int] = {}
    for key in found:
        for place in enumerate(key[:-1]):
            ranks.setdefault(place, len(ranks))
    return lambda key: (tuple(ranks[p] for p in enumerate(key[:-1])), arms.index(key[-1]))


def _explosion(space: Space) -> str:
    """What makes so many trials."""
    sizes: dict[str, int] = {}
    total = 0
    for _, template in templates(space):
        grid = _grid(template)
        sizes |= {path: len(hole.values) for path, hole in grid}
        searched = any(not isinstance(hole, Each) for _, hole in walk(template))
        trials = space.search.trials if searched and space.search is not None else 0
        total += math.prod(len(hole.values) for _, hole in grid) * (space.replicates + trials)
    factors = [f"{path} {n}" for path, n in sizes.items()]
    factors += [f"arms {len(space.arms)}", f"replicates {space.replicates}"]
    if space.search is not None:
        factors.append(f"search trials {space.search.trials}")
    left = ", less what the constraints leave out" if space.constraints else ""
    return (
        f"space: {total:,} trials{left}, more than most={space.most:,} ({', '.join(factors)});"
        " raise it on purpose with Space(most=...) or --most"
    )


def check(space: Space) -> list[Cell]:
    """All cells, after every corner of every one was parsed: errors come before Ray starts."""
    checked = cells(space)
    _check_constraints(space)
    places: dict[str, str] = {}
    for cell in checked:
        task = cell.config(cell.example, {}, seed=0).task
        known = places.setdefault(task.title, task.where)
        if known != task.where:
            raise ValueError(
                f"cell {cell.name}: two data sets are called {task.title}: {known} and"
                f" {task.where}; one must have another name"
            )
        stages: list[Mapping[str, Any]] = [{}]
        if cell.searched and space.search is not None:
            stages.append(space.search.overrides)
            check_search(cell, space.search)
        for overrides in stages:
            for values in cell.corners:
                config = cell.config(values, overrides, seed=0)
                if cell.searched and not overrides:
                    check_shares(cell.name, config, space.workers)
    return checked


def ready(space: Space) -> list[Cell]:
    """Checked cells, for what is about to train: every model's library must be installed here."""
    checked = check(space)
    for cell, values in ((c, v) for c in checked for v in c.corners):
        require_installed(cell.config(values, {}, seed=0).model)
    return checked


def _check_constraints(space: Space) -> None:
    """A constraint on what no cell has would rule nothing out."""
    found = _unconstrained(space) if space.constraints else []
    for rule in space.constraints:
        for path in paths(rule):
            if not any(_has(c.plain(v), path) for c in found for v in corners(c.template)):
                raise ValueError(f"constraint {rule!r}: no cell has {path}")


def _has(config: Mapping[str, Any], path: str) -> bool:
    try:
        look_up(config, path)
    except AbsentError:
        return False
    return True

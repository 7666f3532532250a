"""The cells of a space, and the validated configs of each cell."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces import Each, Space, put, walk
from search_spaces._labels import labels
from search_spaces._parameters import Values, corners, drawn, fill, fits
from search_spaces._rules import holds, paths
from search_spaces._types import check_name
from trainables.config import Config, parse


@dataclass(frozen=True)
class Cell:
    """One combination of grid values and arm, the unit that a study compares."""

    name: str
    arm: str
    template: Mapping[str, Any]
    """A config in plain form in which only searched parameters are open."""
    constraints: tuple[str, ...] = ()

    @cached_property
    def searched(self) -> bool:
        """Whether the cell has searched parameters."""
        return any(True for _ in walk(self.template))

    @cached_property
    def corners(self) -> list[Values]:
        """Values within the constraints that together use every choice and both range ends."""
        every = list(corners(self.template)) if self.searched else [Values()]
        return [values for values in every if self.satisfies(values)]

    @cached_property
    def example(self) -> Values:
        """One valid choice of values: a corner if any is valid, else a random draw.

        Raises:
            ValueError: no values satisfy the constraints.
        """
        if not self.constraints:
            return self.corners[0]
        for values in itertools.chain(self.corners, drawn(self.template)):
            if self.valid(values):
                return values
        for values in self.corners:
            self.config(values, {}, seed=0)  # raises and gives the reason
        raise ValueError(
            f"cell {self.name}: no values satisfy the constraints {list(self.constraints)}"
        )

    def config(self, values: Values, overrides: Mapping[str, Any], seed: int) -> Config:
        """Return the config with these values and overrides.

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
        """The config of a cell without searched parameters, parsed once for all seeds."""
        return self._parsed(self.template)

    def _parsed(self, filled: Mapping[str, Any]) -> Config:
        try:
            return parse(filled)
        except ValueError as error:
            raise ValueError(f"cell {self.name}: {error}") from None

    def plain(self, values: Values) -> Mapping[str, Any]:
        """Return the plain form of the config, or the filled template if it is not valid."""
        try:
            return self.config(values, {}, seed=0).plain()
        except ValueError:
            return fill(self.template, values)

    def satisfies(self, values: Values) -> bool:
        """Whether values satisfy all constraints."""
        if not self.constraints:
            return True
        plain = self.plain(values)
        return all(holds(rule, plain) for rule in self.constraints)

    def accepts(self, values: Values) -> bool:
        """Whether values belong to the cell's parameters and satisfy all constraints."""
        return fits(self.template, values) and self.satisfies(values)

    def valid(self, values: Values, overrides: Mapping[str, Any] | None = None) -> bool:
        """Whether values satisfy all constraints and give a valid config."""
        try:
            self.config(values, overrides or {}, seed=0)
        except ValueError:
            return False
        return self.satisfies(values)

    @property
    def ruled_out(self) -> bool:
        """Whether a constraint is violated that does not depend on searched parameters."""
        open_paths = tuple(path for path, _ in walk(self.template))

        def fixed(rule: str) -> bool:
            return not any(
                f"{name}.".startswith(f"{p}.") for name in paths(rule) for p in open_paths
            )

        rules = tuple(rule for rule in self.constraints if fixed(rule))
        first = next(corners(self.template))
        return not dataclasses.replace(self, constraints=rules).satisfies(first)


def cells(space: Space) -> list[Cell]:
    """Return all cells within the space's constraints: tasks outermost, arms in the given order.

    Raises:
        ValueError: the space describes no valid config, or it has more trials than ``Space.most``;
            the message then gives the factor that each parameter contributes.
    """
    by_key: dict[tuple[str, ...], Cell] = {}
    names = set[str]()
    trials = 0
    for arm, template in templates(space):
        grid = _grid(template)
        axes = [zip(each.values, labels(each.values), strict=True) for _, each in grid]
        for picked in itertools.product(*axes):
            words = [label for _, label in picked]
            filled = _filled(template, grid, [value for value, _ in picked])
            cell = Cell("_".join([*words, arm]), arm, filled, space.constraints)
            check_name("space: the cell's name", cell.name)
            if space.constraints and cell.ruled_out:
                continue
            if cell.name in names:  # arms may have grids of different lengths
                raise ValueError(f"space: cells must differ in name, two are called {cell.name}")
            names.add(cell.name)
            by_key[*words, arm] = cell
            trials += space.replicates
            if cell.searched:
                if space.search is None:
                    raise ValueError(
                        "space: it has searched parameters, so it needs search=Search(trials=...)"
                    )
                trials += space.search.trials
            if trials > space.most:
                raise ValueError(_explosion(space))
    if not by_key:
        raise ValueError(f"space: the constraints leave no cell: {list(space.constraints)}")
    return [by_key[key] for key in sorted(by_key, key=_order(by_key, list(space.arms)))]


def templates(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each arm with the space's config and the arm's overrides applied to it."""
    for arm, overrides in space.arms.items():
        if "seed" in {*space.config, *overrides}:
            raise ValueError("space: seed is not set in a config; use replicates=N")
        template: dict[str, Any] = dict(space.config)
        for path, value in overrides.items():
            template = put(template, path, value)
        yield arm, template


def left_out(space: Space) -> int:
    """Return the number of cells that the constraints exclude."""
    return len(unconstrained(space)) - len(cells(space)) if space.constraints else 0


def unconstrained(space: Space) -> list[Cell]:
    return cells(dataclasses.replace(space, constraints=(), most=sys.maxsize))


Grid = list[tuple[str, Each]]


def _grid(template: Mapping[str, Any]) -> Grid:
    return [(path, each) for path, each in walk(template) if isinstance(each, Each)]


def _filled(template: dict[str, Any], grid: Grid, picked: list[Any]) -> dict[str, Any]:
    """Return the template with its grid values."""
    for (path, _), value in zip(grid, picked, strict=True):
        template = put(template, path, value)
    nested = _grid(template)
    if nested:
        raise ValueError(f"space: Each at {nested[0][0]} is inside another parameter; use an arm")
    return template


def _order(
    keys: Iterable[tuple[str, ...]], arms: list[str]
) -> Callable[[tuple[str, ...]], tuple[tuple[int, ...], int]]:
    """Return a sort key: grid values in the order in which they were given, then the arm."""
    ranks: dict[tuple[int, str], int] = {}
    for key in keys:
        for place in enumerate(key[:-1]):
            ranks.setdefault(place, len(ranks))
    return lambda key: (tuple(ranks[p] for p in enumerate(key[:-1])), arms.index(key[-1]))


def _explosion(space: Space) -> str:
    """Return the error message for a space with too many trials."""
    sizes: dict[str, int] = {}
    total = 0
    for _, template in templates(space):
        grid = _grid(template)
        sizes |= {path: len(each.values) for path, each in grid}
        searched = any(not isinstance(p, Each) for _, p in walk(template))
        trials = space.search.trials if searched and space.search is not None else 0
        total += math.prod(len(each.values) for _, each in grid) * (space.replicates + trials)
    factors = [f"{path} {n}" for path, n in sizes.items()]
    factors += [f"arms {len(space.arms)}", f"replicates {space.replicates}"]
    if space.search is not None:
        factors.append(f"search trials {space.search.trials}")
    left = ", less those that the constraints exclude" if space.constraints else ""
    return (
        f"space: {total:,} trials{left}, more than most={space.most:,} ({', '.join(factors)});"
        " raise the limit with Space(most=...) or --most if that is intended"
    )

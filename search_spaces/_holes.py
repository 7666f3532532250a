"""What fills the searched holes of a config."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces import Choice, Hole, Integer, Uniform, walk

Values = dict[str, Any]
"""What fills the searched holes, by path; a Choice is filled by one of its names."""

DRAWS = 200


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


def drawn(template: Mapping[str, Any]) -> Iterator[Values]:
    """Some values from anywhere, the same at every call."""
    draws, holes = random.Random(0), list(walk(template))
    for _ in range(DRAWS):
        values: Values = {}
        for path, hole in holes:
            if isinstance(hole, Choice):
                values[path] = draws.choice(list(hole.values))
            elif isinstance(hole, Uniform):
                values[path] = draws.uniform(hole.low, hole.high)
            elif isinstance(hole, Integer):
                values[path] = draws.randint(hole.low, hole.high)
        yield values

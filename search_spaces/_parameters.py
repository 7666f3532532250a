"""Values for the searched parameters of a config template."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, cast

from search_spaces import Choice, Integer, Parameter, Uniform, walk

Values = dict[str, Any]
"""Values of the searched parameters, by path; the value of a Choice is one of its names."""

DRAWS = 200
"""The number of random draws that :func:`drawn` yields."""


def fill(template: Any, values: Values, path: str = "") -> Any:
    """Return the template with every searched parameter replaced by its value."""
    if isinstance(template, Choice):
        name = values[path]
        return {name: fill(template.values[name], values, f"{path}.{name}")}
    if isinstance(template, Parameter):
        return values[path]
    if isinstance(template, Mapping):
        items = cast("Mapping[str, Any]", template)
        return {k: fill(v, values, f"{path}.{k}" if path else k) for k, v in items.items()}
    return template


def fits(template: Any, values: Values) -> bool:
    """Whether the values belong to exactly the active parameters, each within its domain.

    A parameter inside a Choice is active only if that choice is taken.
    """
    active: set[str] = set()

    def visit(value: Any, path: str) -> bool:
        if isinstance(value, Choice):
            active.add(path)
            name = str(values.get(path))
            return name in value.values and visit(value.values[name], f"{path}.{name}")
        if isinstance(value, (Uniform, Integer)):
            active.add(path)
            return path in values and value.low <= values[path] <= value.high
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value)
            return all(visit(v, f"{path}.{k}" if path else k) for k, v in items.items())
        return True

    return visit(template, "") and active == values.keys()


def corners(template: Mapping[str, Any]) -> Iterator[Values]:
    """Yield values that together use every choice and both ends of every range."""
    parameters = list(walk(template))
    choices = [(path, p) for path, p in parameters if isinstance(p, Choice)]
    ranges = {path: p for path, p in parameters if isinstance(p, (Uniform, Integer))}
    for end in ("low", "high") if ranges else ("low",):
        ends = {path: getattr(p, end) for path, p in ranges.items()}
        first = {path: next(iter(p.values)) for path, p in choices}
        yield {**ends, **first}
        for path, parameter in choices:
            for name in list(parameter.values)[1:]:
                yield {**ends, **first, path: name}


def drawn(template: Mapping[str, Any]) -> Iterator[Values]:
    """Yield :data:`DRAWS` random draws from the domains, the same ones at every call."""
    rng, parameters = random.Random(0), list(walk(template))
    for _ in range(DRAWS):
        values: Values = {}
        for path, parameter in parameters:
            if isinstance(parameter, Choice):
                values[path] = rng.choice(list(parameter.values))
            elif isinstance(parameter, Uniform):
                values[path] = rng.uniform(parameter.low, parameter.high)
            elif isinstance(parameter, Integer):
                values[path] = rng.randint(parameter.low, parameter.high)
        yield values

"""Values for the searched parameters of a config template."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, cast

from search_spaces._domains import Choice, Integer, Searched, Uniform, walk

Values = dict[str, Any]
"""Values of the searched parameters, by path; the value of a Choice is one of its options."""

DRAWS = 200
"""The number of random draws that :func:`drawn` yields."""


def fill(template: Any, values: Values, path: str = "") -> Any:
    """Return the template with every searched parameter replaced by its value."""
    if isinstance(template, Choice):
        option = values[path]
        fields = template.fields(option)
        return option if fields == {} else {option: fill(fields, values, f"{path}.{option}")}
    if isinstance(template, Searched):
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
        if isinstance(value, Searched):
            active.add(path)
            if path not in values or not value.contains(values[path]):
                return False
        if isinstance(value, Choice):
            return visit(value.fields(values[path]), f"{path}.{values[path]}")
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value)
            return all(visit(v, f"{path}.{k}" if path else k) for k, v in items.items())
        return True

    return visit(template, "") and active == values.keys()


def corners(template: Mapping[str, Any]) -> Iterator[Values]:
    """Yield values that together use every choice and both ends of every range."""
    ranges = {path: p for path, p in walk(template) if isinstance(p, (Uniform, Integer))}
    choices = list(_choices(template))
    first = {path: choice.options[0] for path, choice, _ in choices}
    for end in ("low", "high") if ranges else ("low",):
        ends = {path: getattr(p, end) for path, p in ranges.items()}
        yield {**ends, **first}
        for path, choice, outer in choices:
            for option in choice.options[1:]:
                yield {**ends, **first, **outer, path: option}


def _choices(
    template: Any, path: str = "", outer: Values | None = None
) -> Iterator[tuple[str, Choice, Values]]:
    """Yield every choice with the values of the outer choices that make it active."""
    outer = outer or {}
    if isinstance(template, Choice):
        yield path, template, outer
        for option in template.options:
            inner = {**outer, path: option}
            yield from _choices(template.fields(option), f"{path}.{option}", inner)
    elif isinstance(template, Mapping):
        for key, value in cast("Mapping[str, Any]", template).items():
            yield from _choices(value, f"{path}.{key}" if path else key, outer)


def drawn(template: Mapping[str, Any]) -> Iterator[Values]:
    """Yield :data:`DRAWS` random draws from the domains, the same ones at every call."""
    rng, parameters = random.Random(0), list(walk(template))
    for _ in range(DRAWS):
        yield {path: p.draw(rng) for path, p in parameters if isinstance(p, Searched)}

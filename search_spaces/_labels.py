"""Short names for grid values, from which cells are named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, cast


def labels(values: tuple[Any, ...]) -> list[str]:
    """Return a short name for each grid value: the name of a part, or the value itself.

    Where several values are the same part, the fields in which they differ are added.
    """
    named = [_named(value) for value in values]
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for name, fields in named:
        by_name.setdefault(name, []).append(fields)
    differing = {
        name: {k for f in same for k in f if f.get(k) != same[0].get(k)}
        | {k for k in same[0] if any(f.get(k) != same[0][k] for f in same)}
        for name, same in by_name.items()
    }
    names: list[str] = []
    for name, fields in named:
        details = [
            str(v).rstrip("/").rpartition("/")[2] for k, v in fields.items() if k in differing[name]
        ]
        words = [re.sub(r"[^A-Za-z0-9.-]+", "", word) for word in (name, *details)]
        names.append("-".join(filter(None, words)) or "value")
    return names


def _named(value: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a part (the stem of a user's own file) and its fields."""
    fields: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        value, first = next(iter(given.items()), ("", None))
        single = len(given) == 1 and isinstance(first, Mapping)
        fields = cast("Mapping[str, Any]", first) if single else given
    name = str(value)
    return (PurePosixPath(name).stem if name.endswith(".py") else name), fields

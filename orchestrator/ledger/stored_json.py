"""Small JSON objects of the store, which a person may have edited or damaged."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from typing import Any, cast

from orchestrator.formatting import printable

log = logging.getLogger("segprint.tables")


def parse_object(key: str, text: str | bytes) -> dict[str, Any]:
    """Read a JSON object of the store.

    Raises:
        ValueError: it is damaged; names its key.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{printable(key)} in the store does not parse: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{printable(key)} in the store must be a JSON object")
    return cast("dict[str, Any]", value)


def dump_object(content: Mapping[str, Any]) -> bytes:
    """Return an object as it is stored."""
    return json.dumps(content, indent=1, sort_keys=True).encode()


def is_object(text: str | bytes) -> bool:
    """Whether a stored text is a JSON object in UTF-8."""
    try:
        value = json.loads(text.decode() if isinstance(text, bytes) else text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


@functools.cache
def warn_once(problem: str) -> None:
    """Log a problem once per process, however often the object is read."""
    log.warning("segprint: %s", problem)

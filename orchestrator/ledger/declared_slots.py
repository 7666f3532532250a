"""The slot in a declaration's text, which shows whether it is under the key of another slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.formatting import printable
from orchestrator.ledger.stored_json import parse_object

FIELD = "slot"
"""The field that names the cell, stage, index and digest; declarations of earlier Segprints and
those that share an object lack it."""


def with_slot(key: str, declaration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a declaration with its slot, which its key names."""
    return {**declaration, FIELD: _slot(key)}


def parse_declaration(key: str, text: str | bytes) -> dict[str, Any]:
    """Read a declaration, without its slot.

    Raises:
        ValueError: it does not parse, or is of another slot than its key; names its key.
    """
    value = parse_object(key, text)
    slot = value.pop(FIELD, None)
    if slot not in (None, _slot(key)):
        raise ValueError(f"{printable(key)} in the store declares {printable(str(slot))}")
    return value


def _slot(key: str) -> str:
    """Return the cell, stage, index and digest in a key, without study and revision."""
    return "/".join(key.removesuffix(".json").split("/")[3:])

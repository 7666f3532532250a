"""The slot and the hash in a declaration's text, which show whether it was moved or edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrator.formatting import printable
from orchestrator.ledger.stored_json import parse_object

FIELD = "slot"
"""The field that names the cell, stage, index and digest; declarations of earlier Segprints and
those that share an object lack it."""
HASH = "sha256"
"""The field with a hash over all other fields; declarations of earlier Segprints and those that
share an object, whose name is a hash, lack it."""


def with_slot(key: str, declaration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a declaration with its slot, which its key names, and its hash."""
    content = {**declaration, FIELD: _slot(key)}
    return {**content, HASH: _hash(content)}


def parse_declaration(key: str, text: str | bytes) -> dict[str, Any]:
    """Read a declaration, without its slot and its hash.

    Raises:
        ValueError: it does not parse, was edited, or is of another slot than its key; names its
            key.
    """
    value = parse_object(key, text)
    stored_hash = value.pop(HASH, None)
    if stored_hash not in (None, _hash(value)):
        raise ValueError(f"{printable(key)} in the store was edited: its content and hash differ")
    slot = value.pop(FIELD, None)
    if slot not in (None, _slot(key)):
        raise ValueError(f"{printable(key)} in the store declares {printable(str(slot))}")
    return value


def _slot(key: str) -> str:
    """Return the cell, stage, index and digest in a key, without study and revision."""
    return "/".join(key.removesuffix(".json").split("/")[3:])


def _hash(content: Mapping[str, Any]) -> str:
    stored = json.loads(json.dumps(content))  # keys of objects become texts
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()

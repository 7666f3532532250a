"""Objects that many declarations share: Parquet with the key and the JSON text of each."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa

from orchestrator.ledger.declared_slots import parse_declaration
from orchestrator.ledger.parquet import read_parquet, to_parquet

SCHEMA = pa.schema([("key", pa.string()), ("about", pa.string())])


def is_shared(key: str) -> bool:
    """Whether an object holds the declarations of many trials."""
    return key.startswith("studies/") and key.endswith(".parquet")


def dump(contents: Mapping[str, str | bytes]) -> bytes:
    """Return the object of some declarations' JSON texts by key."""
    rows = [{"key": key, "about": content} for key, content in contents.items()]
    return to_parquet(pa.Table.from_pylist(rows, SCHEMA))


def name_of(value: bytes) -> str:
    """Return the name of an object, which is a hash of its content."""
    return f"{hashlib.sha256(value).hexdigest()[:16]}.parquet"


def load(key: str, value: bytes, columns: Sequence[str]) -> pa.Table:
    """Read columns of an object.

    Raises:
        ValueError: it is damaged; names its key.
    """
    try:
        table = read_parquet(io.BytesIO(value), columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{key} in the store does not parse: {error}") from None
    if is_shared(key) and key.rpartition("/")[2] != name_of(value):
        raise ValueError(f"{key} in the store was edited: its content and name differ")
    return table


def verify(key: str, value: bytes) -> None:
    """Raise ``ValueError`` unless an object below ``studies/`` parses and is of its key."""
    if is_shared(key):
        load(key, value, SCHEMA.names)
    else:
        parse_declaration(key, value)

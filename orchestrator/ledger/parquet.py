"""One immutable object per table and attempt: written typed, read verified and up to date."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.ledger.commits import DamagedError, Record, StoredTable
from trainables.schemas import ABOUT, SCHEMAS, Row, to_arrow


def encode(
    table: str, rows: Sequence[Row], key: Mapping[str, str | None]
) -> tuple[StoredTable, bytes]:
    """Rows as a Parquet object, and what its commit record will say of it.

    Raises:
        ValueError: a column or a value does not fit the table's schema.
    """
    value = parquet(to_arrow(table, rows, key))
    place = f"trials/{key['digest']}/{key['attempt']}/{table}.parquet"
    return StoredTable(
        table, place, hashlib.sha256(value).hexdigest(), len(rows), len(value)
    ), value


def parquet(table: pa.Table, row_group: int = 1 << 18) -> bytes:
    """A table as Parquet, with a checksum on every page; what is coded becomes plain again."""
    sink = io.BytesIO()
    plain = pa.schema(
        f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f
        for f in table.schema
    )
    with pq.ParquetWriter(sink, plain, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, max(table.num_rows, 1), row_group):
            writer.write_table(table.slice(start, row_group).cast(plain))
    return sink.getvalue()


def coded(column: pa.ChunkedArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """A column of names as their sorted list and each row's place in it; null is empty."""
    found: Any = cast("pa.ChunkedArray[Any]", pc.fill_null(column, pa.scalar(""))).combine_chunks()
    if not pa.types.is_dictionary(found.type):
        found = found.dictionary_encode()
    words: list[str] = found.dictionary.to_pylist()
    names, rank = np.unique(words, return_inverse=True)
    return names.tolist(), rank.astype(np.int64)[found.indices.to_numpy()]


def decode(part: StoredTable, value: bytes | None, record: Record, about: Row) -> pa.Table:
    """An object's rows in today's schema, after checking it against its commit record.

    ``about`` is what the attempt's trial says of itself, for rows that were written before every
    row said so.

    Raises:
        DamagedError: the object is missing, or is not what was committed.
    """
    verify(part, value)
    table = pq.read_table(io.BytesIO(value or b""))
    if table.num_rows != part.rows:
        raise DamagedError(f"{part.key}: {table.num_rows} rows, {part.rows} were committed")
    return current(part.table, table, record.schema, about)


def verify(part: StoredTable, value: bytes | None) -> None:
    """Raise :class:`DamagedError` unless these are the committed bytes."""
    if value is None:
        raise DamagedError(f"{part.key}: a committed object is missing")
    found = hashlib.sha256(value).hexdigest()
    if found != part.sha256:
        raise DamagedError(f"{part.key}: sha256 is {found}, was committed as {part.sha256}")


def current(name: str, table: pa.Table, version: int, about: Row) -> pa.Table:
    """Rows of an older schema version in today's schema; a column they did not have is null."""
    columns: dict[str, Any] = {field: table[field] for field in table.column_names}
    count = table.num_rows
    if version < 2:  # one reading, and one peak of memory
        columns["reading"] = pa.array(["sample"] * count)
        columns["peak_host_bytes"] = columns.pop("peak_memory_bytes", pa.nulls(count))
    if version < 3 and name != "trials":
        columns |= {field: pa.array([about[field]] * count, pa.string()) for field in ABOUT}
    schema = SCHEMAS[name]
    return pa.Table.from_arrays(
        [
            columns[f.name].cast(f.type) if f.name in columns else pa.nulls(count, f.type)
            for f in schema
        ],
        schema=schema,
    )

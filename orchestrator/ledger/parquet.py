"""Parquet objects: an attempt's rows, written typed and read verified in the current schema."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.ledger.commits import DamagedError, Record, StoredTable
from trainables.schemas import ABOUT, SCHEMAS, Row, to_arrow

ROW_GROUP = 1 << 18
"""Rows of a group of a Parquet file, at most."""


def encode(
    name: str, rows: Sequence[Row] | pa.Table, key: Mapping[str, str | None]
) -> tuple[StoredTable, bytes]:
    """Return the object of a table's rows, as its commit record names it, and its bytes.

    ``key`` holds the values of :data:`trainables.schemas.KEY`, which are the same in every row.

    Raises:
        ValueError: a column or a value does not fit the table's schema.
    """
    value = to_parquet(to_arrow(name, rows, key))
    at = f"trials/{key['digest']}/{key['attempt']}/{name}.parquet"
    return stored_as(name, at, value, len(rows)), value


def stored_as(name: str, key: str, value: bytes, rows: int) -> StoredTable:
    """Return how a commit record names an object with these bytes."""
    return StoredTable(name, key, hashlib.sha256(value).hexdigest(), rows, len(value))


def decode(stored: StoredTable, value: bytes | None, record: Record, labels: Row) -> pa.Table:
    """Return an object's rows in the current schema, after verifying it.

    ``labels`` are the attempt's, for rows from before every row had them.

    Raises:
        DamagedError: the object is missing, or is not what was committed.
    """
    verify(stored, value)
    table = read_parquet(io.BytesIO(value or b""), verified=True)
    if table.num_rows != stored.rows:
        raise DamagedError(f"{stored.key}: {table.num_rows} rows, {stored.rows} were committed")
    return _in_current_schema(stored.table, table, record.schema, labels)


def verify(stored: StoredTable, value: bytes | None) -> None:
    """Raise :class:`DamagedError` unless these are the committed bytes; None: it is missing."""
    if value is None:
        raise DamagedError(f"{stored.key}: a committed object is missing")
    sha256 = hashlib.sha256(value).hexdigest()
    if sha256 != stored.sha256:
        raise DamagedError(f"{stored.key}: sha256 is {sha256}, was committed as {stored.sha256}")


def _in_current_schema(name: str, table: pa.Table, version: int, labels: Row) -> pa.Table:
    """Return rows of an older schema version in the current one; a missing column is null."""
    if version >= 3 and table.schema.equals(SCHEMAS[name]):
        return table
    columns: dict[str, Any] = {column: table[column] for column in table.column_names}
    count = table.num_rows
    if version < 2:  # there was one reading only, and one peak of memory
        columns["reading"] = pa.array(["sample"] * count)
        columns["peak_host_bytes"] = columns.pop("peak_memory_bytes", pa.nulls(count))
    if version < 3 and name != "trials":
        columns |= {label: pa.array([labels[label]] * count, pa.string()) for label in ABOUT}
    arrays: list[Any] = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(count, f.type)
        for f in fields(SCHEMAS[name])
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMAS[name])


def to_parquet(table: pa.Table, *, small: bool = False) -> bytes:
    """Return a table as Parquet with page checksums; dictionary columns are stored as plain ones.

    ``small`` stores the bytes of equal significance of float64 and int32 together, which compresses
    better and takes longer.
    """
    plain = pa.schema(
        f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f
        for f in fields(table.schema)
    )
    sink = io.BytesIO()
    apart = (pa.float64(), pa.int32())
    numbers = [f.name for f in fields(plain) if small and f.type in apart]
    dictionaries: Any = [f.name for f in fields(plain) if f.name not in numbers] if small else True
    with pq.ParquetWriter(
        sink,
        plain,
        compression="zstd",
        compression_level=12 if small else None,
        write_page_checksum=True,
        use_dictionary=dictionaries,
        use_byte_stream_split=numbers,
    ) as writer:
        for start in range(0, max(table.num_rows, 1), ROW_GROUP):
            writer.write_table(table.slice(start, ROW_GROUP).cast(plain))
    return sink.getvalue()


def read_parquet(
    source: Path | io.BytesIO,
    columns: Sequence[str] | None = None,
    *,
    dictionaries: bool = False,
    verified: bool = False,
) -> pa.Table:
    """Read columns of a Parquet file, all by default.

    ``dictionaries``: texts become dictionary columns, which take less memory. ``verified``: the
    hash of all bytes was compared, so the page checksums are not.

    Raises:
        pyarrow.ArrowException, OSError: the file is missing or damaged.
    """
    untyped = cast("Any", pq)  # the stubs leave some parameters of these functions untyped
    schema: list[pa.Field[Any]] = fields(untyped.read_schema(source)) if dictionaries else []
    file = untyped.ParquetFile(
        source,
        read_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
        page_checksum_verification=not verified,
    )
    with file:  # threads cost more than they save on the small objects that are in memory
        return file.read(
            columns=None if columns is None else list(columns),
            use_threads=isinstance(source, Path),
        )


def fields(schema: pa.Schema) -> list[pa.Field[Any]]:
    """Return a schema's fields, which the stubs of pyarrow leave untyped."""
    return list(cast("Any", schema))


def with_dictionaries(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    """Return rows of one table together, with dictionary columns for texts.

    These take a fifth of the memory. Many small tables are joined first: a conversion takes about
    the same time for each table, whatever its rows.
    """
    schema = pa.schema(
        f.with_type(pa.dictionary(pa.int32(), f.type)) if pa.types.is_string(f.type) else f
        for f in fields(SCHEMAS[name])
    )
    if not tables:
        return schema.empty_table()
    kinds: dict[pa.Schema, list[pa.Table]] = {}
    for table in tables:
        kinds.setdefault(table.schema, []).append(table)
    joined = [
        pa.concat_tables(same).unify_dictionaries().combine_chunks() for same in kinds.values()
    ]
    whole = pa.concat_tables([table.cast(schema) for table in joined])
    return whole.unify_dictionaries().combine_chunks()


def coded(column: pa.ChunkedArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return a text column's distinct values, sorted, and each row's index into them.

    Null is the empty text.
    """
    array: Any = cast("pa.ChunkedArray[Any]", pc.fill_null(column, pa.scalar(""))).combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values: list[str] = array.dictionary.to_pylist()
    names, rank = np.unique(values, return_inverse=True)
    return names.tolist(), rank.astype(np.int64)[array.indices.to_numpy()]

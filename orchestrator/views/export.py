"""Export: a Parquet tree, ``TABLE/part-0.parquet``, with every column in the files.

pandas, Polars, DuckDB and Spark read a table by its folder or with a glob. No value is part of a
path: readers of hive partitions guess types from paths, and read the tasks 0042 and 42 as one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestrator.ledger.parquet import to_parquet
from orchestrator.storage.local_files import placed_folder
from orchestrator.storage.object_store import Store
from orchestrator.views.catalog import Catalog
from trainables.schemas import SCHEMAS

MANIFEST = "manifest.json"
"""The file that is written last: rows by file."""
MOST_ROWS = 1_000_000
"""Rows of a file, at most; so many are held in memory."""


def export_tables(tables: Catalog, to: str) -> tuple[int, int]:
    """Write every view to a new directory or S3 prefix; return the numbers of files and rows.

    A directory is written beside its place and renamed; below an S3 prefix, the manifest is last.

    Raises:
        ValueError: the place is not empty.
    """
    target = Store(to)
    present = target.list("")
    if present:
        incomplete = target.remote and MANIFEST not in present
        why = f"it has no {MANIFEST}: an export was interrupted" if incomplete else "not empty"
        raise ValueError(f"{to}: {why}; export into a new place")
    if target.remote:
        return _write(tables, target)
    with placed_folder(Path(target.url)) as folder:
        return _write(tables, Store(str(folder)))


def _write(tables: Catalog, target: Store) -> tuple[int, int]:
    """Write every view, then the manifest; return the numbers of data files and rows."""
    written: dict[str, int] = {}
    for name in tables.names():
        pieces = _pieces(tables, name) if name in SCHEMAS else [tables[name]]
        for number, piece in enumerate(pieces):
            key = f"{name}/part-{number}.parquet"
            target.put(key, to_parquet(piece))
            written[key] = piece.num_rows
    target.put(MANIFEST, json.dumps({"rows": written}, indent=1).encode())
    return len(written), sum(written.values())


def _pieces(tables: Catalog, name: str) -> Iterator[pa.Table]:
    """Yield the rows of a recorded view in pieces; at least one, which may be empty."""
    schema = SCHEMAS[name]
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        tables.attach(connection, name)
        reader = connection.view(name).select(*schema.names).to_arrow_reader(1 << 16)
        batches: list[pa.RecordBatch] = []
        yielded = False
        for batch in reader:
            if batches and sum(b.num_rows for b in batches) + batch.num_rows > MOST_ROWS:
                yield pa.Table.from_batches(batches).cast(schema)
                batches, yielded = [], True
            batches.append(batch)
        if batches or not yielded:
            yield pa.Table.from_batches(batches, reader.schema).cast(schema)

"""Export: a hive-partitioned Parquet tree, ``TABLE/task=.../model=.../part-0.parquet``.

pandas, Polars, DuckDB and Spark read a table by its folder or with a glob. The values of ``task``
and ``model`` are in the paths, quoted as in a URL, as all four expect. A trial without one has the
value ``(none)``, since pandas does not read hive's null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import duckdb
import pyarrow as pa

from orchestrator.ledger.parquet import fields, to_parquet
from orchestrator.storage.object_store import Store
from orchestrator.views.catalog import Catalog
from trainables.schemas import SCHEMAS

PARTITION_COLUMNS = ("task", "model")
NONE = "(none)"
MOST_ROWS = 1_000_000
"""Rows of a file, at most; a whole partition is held in memory."""


def export_tables(tables: Catalog, to: str) -> tuple[int, int]:
    """Write every view to a new directory or S3 prefix; return the numbers of files and rows.

    Raises:
        ValueError: the place is not empty.
    """
    target = Store(to)
    if target.list(""):
        raise ValueError(f"{to}: not empty; export into a new place")
    files = rows = 0
    for name in tables.names():
        pieces = _pieces(tables, name) if name in SCHEMAS else [("", tables[name])]
        written = Counter[str]()
        for folder, piece in pieces:
            key = f"{name}/{folder}part-{written[folder]}.parquet"
            target.put(key, to_parquet(piece))
            written[folder] += 1
            files, rows = files + 1, rows + piece.num_rows
    return files, rows


def _pieces(tables: Catalog, name: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each partition in pieces, with the partition's folder."""
    schema = pa.schema([f for f in fields(SCHEMAS[name]) if f.name not in PARTITION_COLUMNS])
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        tables.attach(connection, name)
        view = connection.view(name)
        partitions = view.select(*PARTITION_COLUMNS).distinct().order(", ".join(PARTITION_COLUMNS))
        for values in partitions.fetchall():
            rows = view
            for column, value in zip(PARTITION_COLUMNS, values, strict=True):
                field = duckdb.ColumnExpression(column)
                rows = rows.filter(
                    field.isnull() if value is None else field == duckdb.ConstantExpression(value)
                )
            named = zip(PARTITION_COLUMNS, values, strict=True)
            folder = "".join(f"{column}={_quoted(value)}/" for column, value in named)
            partition = rows.select(*schema.names).to_arrow_table().cast(schema)
            for start in range(0, partition.num_rows, MOST_ROWS):
                yield folder, partition.slice(start, MOST_ROWS)


def _quoted(value: str | None) -> str:
    return quote(NONE if value is None else value, safe="")

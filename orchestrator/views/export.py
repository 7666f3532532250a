"""A hive-partitioned Parquet tree: ``TABLE/task=.../model=.../part-0.parquet``.

pandas, Polars, DuckDB and Spark read a table of it by its folder or with a glob; the values of
``task`` and ``model`` are in the paths, quoted as in a URL, as all four expect; ``(none)`` is that
of a trial without one, since pandas does not read hive's null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import duckdb
import pyarrow as pa

from orchestrator.ledger.parquet import to_parquet
from orchestrator.storage.object_store import Store
from orchestrator.views.catalog import Catalog
from trainables.schemas import SCHEMAS

BY = ("task", "model")
NONE = "(none)"
ROWS = 1_000_000
"""In one file, at most; a whole partition is held in memory."""


def export(tables: Catalog, to: str) -> tuple[int, int]:
    """Write every table and analysis to a new directory or S3 prefix; files and rows.

    Raises:
        ValueError: there is something already.
    """
    target = Store(to)
    if target.list(""):
        raise ValueError(f"{to}: not empty; export into a new place")
    files = rows = 0
    for name in tables.names():
        written = _partitioned(tables, name) if name in SCHEMAS else [("", tables[name])]
        pieces = Counter[str]()
        for place, part in written:
            target.put(f"{name}/{place}part-{pieces[place]}.parquet", to_parquet(part))
            pieces[place] += 1
            files, rows = files + 1, rows + part.num_rows
    return files, rows


def _partitioned(tables: Catalog, name: str) -> Iterator[tuple[str, pa.Table]]:
    """Each partition's rows, in pieces, with the folder they go to."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        tables.attach(connection, name)
        whole = connection.view(name)
        kept = [f for f in SCHEMAS[name] if f.name not in BY]
        for values in whole.select(*BY).distinct().order(", ".join(BY)).fetchall():
            rows = whole
            for column, value in zip(BY, values, strict=True):
                field = duckdb.ColumnExpression(column)
                rows = rows.filter(
                    field.isnull() if value is None else field == duckdb.ConstantExpression(value)
                )
            place = "".join(f"{c}={_value(v)}/" for c, v in zip(BY, values, strict=True))
            part = rows.select(*(f.name for f in kept)).to_arrow_table().cast(pa.schema(kept))
            for start in range(0, part.num_rows, ROWS):
                yield place, part.slice(start, ROWS)


def _value(value: str | None) -> str:
    return quote(NONE if value is None else value, safe="")

"""Tables as the bytes of files that other programs read: JSON, CSV, Parquet and Markdown.

Every column is kept under a name of its own. A value that a format has no type for becomes a text;
bytes are kept in Parquet, and shown by their number elsewhere.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.csv

from orchestrator.formatting import csv_cell, printable
from orchestrator.ledger.parquet import to_parquet


def distinct(names: Iterable[str]) -> list[str]:
    """Return names of which no two are equal, also where case is ignored, as DuckDB and Spark do.

    >>> distinct(["x", "X", "x_1", "y"])
    ['x', 'X_2', 'x_1', 'y']
    """
    names = list(names)
    taken = {name.lower() for name in names}
    seen, result = set[str](), list[str]()
    for name in names:
        number, unique = 0, name
        while unique.lower() in seen or (number and unique.lower() in taken):
            number += 1
            unique = f"{name}_{number}"
        seen.add(unique.lower())
        result.append(unique)
    return result


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return a table's rows as objects of Python; dates that Python lacks are texts."""
    columns = {name: _values(table.column(i)) for i, name in enumerate(table.column_names)}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):  # beyond the year 9999, or infinite
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("_column", pa.Table.from_arrays([column], ["value"]))
            texts = connection.sql("SELECT value::VARCHAR FROM _column").fetchall()
        return [text for (text,) in texts]


def plain(value: Any) -> Any:
    """Return a value as strict JSON has it: null for NaN and infinity, texts for what it lacks."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(key): plain(item) for key, item in items}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in cast("list[Any]", value)]
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _number(value: Decimal) -> int | float | str:
    """Return a decimal as a number, or as a text if a float has not all of its digits."""
    if value == value.to_integral_value():
        return int(value)
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == value else str(value)


def json_text(value: Any) -> str:
    """Return a value as JSON that any parser reads."""
    return json.dumps(plain(value), indent=1, allow_nan=False)


def cell(value: Any) -> str:
    """Return a value as a short text for people."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (bytes, Mapping, list, tuple)):
        simple: Any = plain(value)
        value = simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)
    return printable(str(value))


def _json(table: pa.Table) -> bytes:
    return (json_text(rows(table)) + "\n").encode()


def _csv(table: pa.Table) -> bytes:
    columns = [_csv_column(table.column(i)) for i in range(table.num_columns)]
    names = [csv_cell(name) for name in table.column_names]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.Table.from_arrays(columns, names=names), sink)
    return sink.getvalue()


def _csv_column(column: pa.ChunkedArray[Any]) -> Any:
    """Return numbers, dates and times as they are, and all others as texts; nested ones as JSON.

    So are dates that Python lacks, which Arrow would write as "value out of range".
    """
    is_ = pa.types
    kind = column.type
    numbers = (is_.is_integer, is_.is_floating, is_.is_boolean, is_.is_decimal)
    dates = is_.is_temporal(kind) and not is_.is_interval(kind)
    beyond = dates and any(isinstance(value, str) for value in _values(column))
    if any(check(kind) for check in numbers) or (dates and not beyond):
        return column
    texts = [csv_cell(_csv_text(value)) for value in _values(column)]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _csv_text(value: Any) -> str | None:
    if value is None:
        return None
    simple: Any = plain(value)
    return simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)


def _markdown(table: pa.Table) -> bytes:
    lines = [list(map(_markdown_cell, table.column_names)), ["---"] * table.num_columns]
    lines += [[_markdown_cell(value) for value in row.values()] for row in rows(table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _markdown_cell(value: Any) -> str:
    if value is None:
        return ""
    text = value.replace("\n", " ") if isinstance(value, str) else value
    return cell(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


FORMATS: dict[str, Callable[[pa.Table], bytes]] = {
    "json": _json,
    "csv": _csv,
    "parquet": to_parquet,
    "markdown": _markdown,
    "md": _markdown,
}

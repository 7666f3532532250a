"""A table as text or file: for people, for scripts, and for other programs."""

from __future__ import annotations

import io
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from orchestrator.commands import emit, json_text

SUFFIXES = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".md": "markdown"}


def add_options(parser: ArgumentParser) -> None:
    """``--format`` and ``-o`` for a verb that ends in a table."""
    parser.add_argument("--format", choices=("table", *FORMATS), help="default: of the -o FILE")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of printing")


def deliver(table: pa.Table, options: Namespace) -> None:
    """Print a table, or write it where ``-o`` says.

    Raises:
        ValueError: the format is a binary one and there is no file, or no format for the file.
    """
    file = Path(options.output) if options.output else None
    kind = options.format or ("json" if options.json else None)
    if kind is None and file is not None:
        kind = SUFFIXES.get(file.suffix)
        if kind is None:
            raise ValueError(f"{file}: --format is needed (suffixes known: {', '.join(SUFFIXES)})")
    if kind != "parquet":
        table = _readable(table)
    if kind in (None, "table"):
        if file is not None:
            raise ValueError("--format table is for the terminal; choices: " + ", ".join(FORMATS))
        emit(table.to_pylist(), {name: name for name in table.column_names}, as_json=False)
        return
    content = FORMATS[kind](table)
    if file is not None:
        file.write_bytes(content)
    elif kind == "parquet":
        raise ValueError("--format parquet needs -o FILE")
    else:
        sys.stdout.write(content.decode())


def _readable(table: pa.Table) -> pa.Table:
    """Text has no place for a picture's bytes: it says how many there are."""
    for i, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            said = [None if v is None else f"<{len(v)} bytes>" for v in table[i].to_pylist()]
            table = table.set_column(i, field.name, pa.array(said, pa.string()))
    return table


def _json(table: pa.Table) -> bytes:
    return (json_text(table.to_pylist()) + "\n").encode()


def _csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _markdown(table: pa.Table) -> bytes:
    lines = [table.column_names, ["---"] * table.num_columns]
    lines += [[_cell(value) for value in row.values()] for row in table.to_pylist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


FORMATS: dict[str, Callable[[pa.Table], bytes]] = {
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "markdown": _markdown,
}

"""Tables on the terminal, as JSON, and as files for other programs."""

from __future__ import annotations

import io
import json
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 10_000
"""The width where there is no terminal, so that no line is folded."""
SUFFIXES = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".md": "markdown"}


def console(*, stderr: bool = False) -> Console:
    """Return a console that folds lines on a terminal only."""
    terminal = Console(highlight=False, stderr=stderr)
    if terminal.is_terminal:
        return terminal
    return Console(highlight=False, stderr=stderr, width=WIDE)


def emit(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | None, as_json: bool
) -> None:
    """Print rows as JSON or as a table; ``columns`` maps keys to headings (default: all keys)."""
    rows = [dict(row) for row in rows]
    if as_json:
        print(json_text(rows))
        return
    if columns is None:
        columns = {key: key for key in rows[0]} if rows else {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    numeric = {key for key in columns if any(isinstance(r.get(key), (int, float)) for r in rows)}
    for key, heading in columns.items():
        table.add_column(heading, justify="right" if key in numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(key))) for key in columns))
    console().print(table)


def json_text(rows: list[dict[str, Any]]) -> str:
    """Return rows as JSON that any parser reads, with null for NaN and infinity."""
    plain = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]
    return json.dumps(plain, indent=1, default=str, allow_nan=False)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def add_options(parser: ArgumentParser) -> None:
    """Add ``--format`` and ``-o`` to a verb that prints one table."""
    parser.add_argument(
        "--format", choices=("table", *FORMATS), help="default: by the suffix of FILE"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to a file instead of printing"
    )


def deliver(table: pa.Table, options: Namespace) -> None:
    """Print a table, or write it to the file of ``-o``.

    Raises:
        ValueError: a binary format has no file, or the format of the file is unknown.
    """
    file = Path(options.output) if options.output else None
    kind = options.format or ("json" if options.json else None)
    if kind is None and file is not None:
        kind = SUFFIXES.get(file.suffix)
        if kind is None:
            raise ValueError(f"{file}: --format is needed (known suffixes: {', '.join(SUFFIXES)})")
    if kind != "parquet":
        table = _without_bytes(table)
    if kind in (None, "table"):
        if file is not None:
            raise ValueError(
                "--format table is for the terminal (choices: " + ", ".join(FORMATS) + ")"
            )
        emit(table.to_pylist(), {name: name for name in table.column_names}, as_json=False)
        return
    content = FORMATS[kind](table)
    if file is not None:
        file.write_bytes(content)
    elif kind == "parquet":
        raise ValueError("--format parquet needs -o FILE")
    else:
        sys.stdout.write(content.decode())


def _without_bytes(table: pa.Table) -> pa.Table:
    """Replace binary values, such as images, by their size as text."""
    for i, name in enumerate(table.column_names):
        kind = table.column(i).type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            sizes = [None if v is None else f"<{len(v)} bytes>" for v in table[i].to_pylist()]
            table = table.set_column(i, name, pa.array(sizes, pa.string()))
    return table


def _json(table: pa.Table) -> bytes:
    return (json_text(table.to_pylist()) + "\n").encode()


def _csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")  # pyright: ignore[reportUnknownMemberType]
    return sink.getvalue()


def _markdown(table: pa.Table) -> bytes:
    lines = [table.column_names, ["---"] * table.num_columns]
    lines += [[_markdown_cell(value) for value in row.values()] for row in table.to_pylist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _markdown_cell(value: Any) -> str:
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

"""Prints tables and lines on the terminal, and JSON; writes tables as files for other programs."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.formatting import plural, printable
from orchestrator.storage.local_files import place
from orchestrator.views.table_formats import FORMATS, cell, json_text, rows

WIDE = 10_000
"""The width where there is no terminal, so that no line is folded."""
AROUND = 3
"""Lines of a terminal that a table leaves: its heading, the remark, the next prompt."""
SUFFIXES = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".md": "markdown"}


class _Answer:
    """Where the answer of a command goes: standard output, which nothing else may use meanwhile."""

    stream: TextIO | None = None
    as_json: bool = False
    """Whether the answer is JSON, so that texts for people go to stderr."""


def answer() -> TextIO:
    """Return the stream that texts for people are written to."""
    return sys.stderr if _Answer.as_json else _Answer.stream or sys.stdout


@contextmanager
def only_answers(*, as_json: bool) -> Generator[None]:
    """Send to stderr what is written to standard output meanwhile, except by this module.

    That includes the output of C code and of processes that a user's file starts.
    """
    with _descriptor_1_is_stderr() as stream, redirect_stdout(sys.stderr):
        _Answer.stream, _Answer.as_json = stream, as_json
        try:
            yield
        finally:
            _Answer.stream, _Answer.as_json = None, False


@contextmanager
def passed_on() -> Generator[None]:
    """Treat what is printed meanwhile, the output of another tool, as a text for people."""
    with redirect_stdout(answer()):
        yield


@contextmanager
def _descriptor_1_is_stderr() -> Generator[TextIO]:
    """Make descriptor 1 a copy of descriptor 2, and yield a stream to what ``sys.stdout`` was."""
    stdout = sys.stdout
    try:
        stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, AttributeError):  # one of them is closed
        yield stdout
        return
    stream = stdout if _descriptor(stdout) != 1 else _writer(kept, stdout)
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), kept)  # takes what the stream still holds
        raise
    finally:
        if stream is not stdout:
            stream.close()
        os.dup2(kept, 1)
        os.close(kept)


def _writer(descriptor: int, like: TextIO) -> TextIO:
    """Return a stream to a descriptor with the encoding and the line buffering of another one."""
    lines = 1 if like.isatty() else -1
    return open(descriptor, "w", lines, encoding=like.encoding, errors=like.errors, closefd=False)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # a stream in memory
        return None


def console(*, stderr: bool = False) -> Console:
    """Return a console that folds lines on a terminal only; a notebook gets plain lines."""
    file = sys.stderr if stderr else answer()
    terminal = Console(file=file, highlight=False, markup=False, force_jupyter=False)
    if terminal.is_terminal:
        return terminal
    return Console(file=file, highlight=False, markup=False, width=WIDE, force_jupyter=False)


def say(text: object = "") -> None:
    """Print a text for people; characters that act on the terminal are escaped."""
    print(printable(str(text), keep="\n"), file=answer())


def notice(text: object) -> None:
    """Print a note on stderr; characters that act on the terminal are escaped."""
    console(stderr=True).print(printable(f"segprint: {text}"))


def print_json(value: Any) -> None:
    """Print a value as JSON that any parser reads, with null for NaN and infinity."""
    print(json_text(value), file=_Answer.stream or sys.stdout)


def emit(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str] | None,
    as_json: bool,
    *,
    every: bool = True,
) -> None:
    """Print rows as JSON or as a table; ``columns`` maps keys to headings (default: all keys).

    Unless ``every`` row is wanted, a terminal shows as many as fit. Without rows no table is
    printed.
    """
    rows = [dict(row) for row in rows]
    if as_json:
        print_json(rows)
    if as_json or not rows:
        return
    if columns is None:
        columns = {key: key for key in rows[0]}
    table = Table(box=None, pad_edge=False, header_style="bold")
    numeric = {key for key in columns if any(isinstance(r.get(key), (int, float)) for r in rows)}
    for key, heading in columns.items():
        justify = "right" if key in numeric else "left"
        table.add_column(Text(printable(heading)), justify=justify, no_wrap=True)
    terminal = console()
    shown = rows if every or not terminal.is_terminal else rows[: max(1, terminal.height - AROUND)]
    for row in shown:
        table.add_row(*(Text(_cell(row.get(key))) for key in columns))
    terminal.print(table)
    if len(shown) < len(rows):
        terminal.print(f"{plural(len(rows) - len(shown), 'more row')}; --all prints every row")


def _cell(value: Any) -> str:
    return "–" if value is None else cell(value)


def deliver(table: pa.Table, options: Namespace, headings: Mapping[str, str] | None = None) -> None:
    """Print a table, or write it to the file of ``-o``.

    ``headings`` are shorter names of columns for the printed table.

    Raises:
        ValueError: a binary format has no file, or the format of the file is unknown.
    """
    file = Path(options.output) if options.output else None
    kind = _format(options, file)
    if kind is None:
        names = {n: n for n in table.column_names} | dict(headings or {})
        emit(rows(table), names, as_json=False, every=options.all)
        if not table.num_rows:
            notice(f"no rows; the columns are {', '.join(table.column_names)}")
        return
    content = FORMATS[kind](table)
    if file is not None:
        write_whole(file, content)
    elif kind == "json":
        print(content.decode(), end="", file=_Answer.stream or sys.stdout)
    else:
        text = content.decode()
        shown = printable(text, keep="\n\t") if answer().isatty() else text
        print(shown, end="", file=answer())


def _format(options: Namespace, file: Path | None) -> str | None:
    """Return the format in which a table is wanted; None: printed as a table."""
    kind: str | None = options.format
    if options.json and kind not in (None, "json"):
        raise ValueError(f"--json and --format {kind}: choose one of them")
    kind = kind or ("json" if options.json else None)
    if options.json and file is not None and SUFFIXES.get(file.suffix, "json") != "json":
        raise ValueError(f"--json and -o {file}: choose one of them")
    if kind == "table" and file is not None:
        choices: Sequence[str] = tuple(FORMATS)
        raise ValueError(f"--format table is for the terminal (choices: {', '.join(choices)})")
    if kind is None and file is not None:
        kind = SUFFIXES.get(file.suffix)
        if kind is None:
            raise ValueError(f"{file}: --format is needed (known suffixes: {', '.join(SUFFIXES)})")
    if kind == "parquet" and file is None:
        raise ValueError("--format parquet needs -o FILE")
    return None if kind == "table" else kind


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    if file.exists() and not file.is_file():  # a pipe, or /dev/stdout
        file.write_bytes(content)
        return
    place(file, content, replace=True)

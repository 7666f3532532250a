"""The verbs, one file each: ``main(options)`` returns the exit code."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.views.catalog import Catalog
from search_spaces import Space
from trainables.part import unknown

WIDE = 10_000


def ledger_of(options: Namespace) -> Ledger:
    """The ledger that ``--store`` names."""
    return Ledger(Store(options.store))


def tables_of(options: Namespace) -> Catalog:
    """The views of the studies that were named, or of all.

    Raises:
        ValueError: a study is not in the store.
    """
    ledger = ledger_of(options)
    known = ledger.studies.names(retired=True)
    for study in options.studies:
        if study not in known:
            raise unknown("study", study, known)
    return catalog(ledger, tuple(options.studies), getattr(options, "version", None))


def console(*, stderr: bool = False) -> Console:
    """A console that does not fold lines where there is no terminal."""
    made = Console(highlight=False, stderr=stderr)
    return made if made.is_terminal else Console(highlight=False, stderr=stderr, width=WIDE)


def emit(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | None, as_json: bool
) -> None:
    """Print rows as JSON, or as a table whose columns are given as key to heading."""
    listed = [dict(row) for row in rows]
    if as_json:
        print(json_text(listed))
        return
    if columns is None:
        columns = {k: k for k in listed[0]} if listed else {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    numeric = {k for k in columns if any(isinstance(r.get(k), (int, float)) for r in listed)}
    for key, heading in columns.items():
        table.add_column(heading, justify="right" if key in numeric else "left", no_wrap=True)
    for row in listed:
        table.add_row(*(Text(_cell(row.get(key))) for key in columns))
    console().print(table)


def json_text(rows: list[dict[str, Any]]) -> str:
    """JSON that any parser reads: it has no NaN, which is null there."""
    plain = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]
    return json.dumps(plain, indent=1, default=str, allow_nan=False)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def limited(space: Space, most: int | None) -> Space:
    """The space with its limit on trials raised, where ``--most`` says so."""
    return space if most is None else dataclasses.replace(space, most=most)


def setting(text: str) -> tuple[str, Any]:
    """``PATH=VALUE`` as a path and a JSON value, or a word."""
    path, found, value = text.partition("=")
    if not found or not path:
        raise ValueError(f"--set {text!r} must be PATH=VALUE, e.g. train.steps=20")
    try:
        return path, json.loads(value)
    except json.JSONDecodeError:
        return path, value

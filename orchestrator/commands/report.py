"""``segprint report``: the results of studies as one HTML page."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from orchestrator.commands.options import catalog_of, ledger_of_studies
from orchestrator.commands.output import answer, say
from orchestrator.formatting import plural
from orchestrator.report import read_layout, write_report
from orchestrator.views.catalog import Catalog
from trainables.part import require

SHORTEST_WATCH, LONGEST_WATCH = 5.0, 86400.0
"""Seconds; a page takes some to compute."""


def main(options: Namespace) -> int:
    """Write the page and print its files, or serve it.

    With ``--watch``, repeat until no trial is missing; a browser reloads the page also afterwards,
    so that it shows the results of a later sweep that is watched.
    """
    if options.serve:
        return _serve(options)
    watch: float | None = options.watch
    require(
        watch is None or SHORTEST_WATCH <= watch <= LONGEST_WATCH,
        f"--watch={watch} must be between {SHORTEST_WATCH:g} and {LONGEST_WATCH:g} seconds",
    )
    page = Path(options.output)
    require(page.parent.is_dir(), f"-o {page}: there is no directory {page.parent}")
    require(
        page.suffix in (".html", ".htm") and not page.is_dir(),
        f"-o {page}: a report is a file whose name ends in .html",
    )
    folder = Path(options.figures) if options.figures else None
    table = Path(options.table) if options.table else None
    require(table is None or folder is not None, f"--table {table} needs --figures DIRECTORY")
    layout = read_layout(table) if table else None
    refresh = round(watch) if watch else 0
    tables = catalog_of(options)
    while watch and missing(tables):
        write_report(tables, page, folder, refresh, layout)
        say(f"{page}: {plural(missing(tables), 'trial')} missing; the next look is in {refresh} s")
        time.sleep(watch)
        tables = catalog_of(options)
    _print_files(write_report(tables, page, folder, refresh, layout))
    if not tables["studies"].num_rows:
        say(f"segprint: the store {options.store} has no study; the page is empty")
    return 0


def _print_files(paths: Sequence[Path]) -> None:
    """Print the page and the tables for a paper; count the other files."""
    page, *others = paths
    say(page)
    for path in others:
        if path.name.startswith("table-"):
            say(path)
    if others:
        kinds = sorted({path.suffix.removeprefix(".") for path in others})
        say(f"{others[0].parent}: {plural(len(others), 'file')} in all ({', '.join(kinds)})")


def _serve(options: Namespace) -> int:
    """Serve the live report until Ctrl-C."""
    port = options.port or 0
    require(0 <= port < 1 << 16, f"--port={port} must be between 1 and 65535")
    ledger = ledger_of_studies(options)
    from orchestrator.serving import serve  # its library takes a moment to import

    def ready(address: str) -> None:
        text = f"{address} (Ctrl-C ends it; whoever has this address can read the store)"
        print(text, file=answer(), flush=True)

    serve(ledger, tuple(options.studies), port, ready)
    return 0


def missing(tables: Catalog) -> int:
    """Return the number of declared trials that are not committed."""
    committed = set(tables["trials"]["digest"].to_pylist())
    return len(set(tables["studies"]["digest"].to_pylist()) - committed)

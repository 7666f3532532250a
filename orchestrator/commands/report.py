"""``segprint report``: the results of studies as one HTML page."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from orchestrator.commands.options import catalog_of
from orchestrator.commands.output import say
from orchestrator.formatting import plural
from orchestrator.report import read_layout, write_report
from orchestrator.views.catalog import Catalog
from trainables.part import require

SHORTEST_WATCH = 5.0
"""Seconds; a page takes some to compute."""


def main(options: Namespace) -> int:
    """Write the page and print its files; with ``--watch``, repeat until no trial is missing."""
    watch: float | None = options.watch
    require(
        watch is None or watch >= SHORTEST_WATCH,
        f"--watch={watch} must be at least {SHORTEST_WATCH:g} seconds",
    )
    page = Path(options.output)
    require(page.parent.is_dir(), f"-o {page}: there is no directory {page.parent}")
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
    for path in write_report(tables, page, folder, layout=layout):
        say(path)
    return 0


def missing(tables: Catalog) -> int:
    """Return the number of declared trials that are not committed."""
    committed = set(tables["trials"]["digest"].to_pylist())
    return len(set(tables["studies"]["digest"].to_pylist()) - committed)

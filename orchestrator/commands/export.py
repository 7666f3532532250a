"""``segprint export``: what is committed, for programs that do not know Segprint."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import search_spaces
from orchestrator.commands import console, ledger_of, tables_of
from orchestrator.planning.plan import make_plan
from orchestrator.search.history import SearchHistory
from orchestrator.views.export import export_tables


def main(options: Namespace) -> int:
    """Write a Parquet tree, or the searches of a space for optuna-dashboard; says what is in it."""
    if options.format == "optuna":
        return _optuna(options)
    files, rows = export_tables(tables_of(options), options.output)
    console().print(f"{rows} rows in {files} files below {options.output}")
    return 0


def _optuna(options: Namespace) -> int:
    if len(options.studies) != 1 or options.version is not None:
        raise ValueError("export --format optuna takes one space, by name or path, as it is now")
    file = Path(options.output)
    if file.exists():
        raise ValueError(f"{file}: there is something already; export into a new file")
    ledger, (study, space) = ledger_of(options), search_spaces.load(options.studies[0])
    made = make_plan(study, space, ledger)
    if not any(cell.searched for cell in made.cells):
        raise ValueError(f"space {study!r} searches nothing: it has no Choice, Uniform or Integer")
    from orchestrator.search.optuna_search import export_sqlite

    file.parent.mkdir(parents=True, exist_ok=True)
    for name, trials in export_sqlite(made, SearchHistory(made, ledger), file).items():
        console().print(f"{name}: {trials} trials")
    console().print(f"optuna-dashboard sqlite:///{file} shows them")
    return 0

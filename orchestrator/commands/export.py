"""``segprint export``: committed results for other programs."""

from __future__ import annotations

import os
import uuid
from argparse import Namespace
from pathlib import Path

import search_spaces
from orchestrator.commands.options import catalog_of, ledger_of, require_study, study_of
from orchestrator.commands.output import say
from orchestrator.formatting import plural
from orchestrator.planning.plan import make_plan
from orchestrator.search.history import SearchHistory
from orchestrator.tables.published import publish
from orchestrator.views.export import export_tables


def main(options: Namespace) -> int:
    """Write results in the format that ``--format`` names; print their size."""
    if options.format == "optuna":
        return _optuna(options)
    if options.format == "published":
        return _publish(options)
    files, rows = export_tables(catalog_of(options), options.output)
    say(f"{plural(rows, 'row')} in {plural(files, 'file')} below {options.output}")
    return 0


def _publish(options: Namespace) -> int:
    """Write one study, by name or by the path of its space, as a published study."""
    if len(options.studies) != 1:
        raise ValueError("export --format published takes one study or space")
    study, space = options.studies[0], None
    if study.endswith(".py") or study in search_spaces.names():
        space = search_spaces.file_of(study).read_text(encoding="utf-8")
        study, _ = study_of(options, study)
    elif options.study is not None:
        raise ValueError(f"--as {options.study} names the study of a space; {study!r} is a study")
    ledger = ledger_of(options)
    require_study(ledger, study)
    found = publish(ledger, study, options.output, space)
    files, size = plural(found.files, "file"), f"{found.size / 1e6:.1f} MB"
    say(f"{study}: {plural(found.trials, 'trial')} in {files}, {size}, in {options.output}")
    say(f"its report: segprint report {options.output}")
    return 0


def _optuna(options: Namespace) -> int:
    """Write the searches of one space to an SQLite file."""
    if len(options.studies) != 1:
        raise ValueError("export --format optuna takes one space by name or path")
    file = Path(options.output)
    if file.exists():
        raise ValueError(f"{file} exists already; export to a new file")
    ledger, (study, space) = ledger_of(options), study_of(options, options.studies[0])
    plan = make_plan(study, space, ledger)
    if not any(cell.searched for cell in plan.cells):
        raise ValueError(f"space {study!r} has no searched parameter (Choice, Uniform, Integer)")
    from orchestrator.search.optuna_search import export_sqlite

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name[:100]}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        searches = export_sqlite(plan, SearchHistory(plan, ledger), temporary)
        os.rename(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    for name, trials in searches.items():
        say(f"{name}: {plural(trials, 'trial')}")
    say(f"optuna-dashboard sqlite:///{file} shows them")
    return 0

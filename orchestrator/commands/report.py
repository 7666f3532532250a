"""``segprint report``: the page that people will show."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from orchestrator.commands import ledger_of
from orchestrator.report import write
from orchestrator.tables import Tables
from trainables.part import unknown


def main(options: Namespace) -> int:
    """Write the page and name the files."""
    ledger = ledger_of(options)
    known = {d.study for d in ledger.declared()}
    for study in options.studies:
        if study not in known:
            raise unknown("study", study, sorted(known))
    for path in write(Tables(ledger, tuple(options.studies)), Path(options.output)):
        print(path)
    return 0

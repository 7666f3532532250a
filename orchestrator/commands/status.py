"""``segprint status``: how far a study is, derived from the store alone."""

from __future__ import annotations

from argparse import Namespace

import search_spaces
from orchestrator import policy
from orchestrator.commands import emit, ledger_of
from orchestrator.owner import driver_of


def main(options: Namespace) -> int:
    """One line per cell and stage, for a space by name or path, or a study by its name."""
    study = options.space
    if study.endswith(".py") or study in search_spaces.names():
        study, _ = search_spaces.load(study)
    ledger = ledger_of(options)
    declared = ledger.studies.current(study)
    if not declared:
        raise ValueError(f"study {study!r} has no trial in {ledger.store.url}")
    commits, failures, leases = ledger.commits(), ledger.failures(), ledger.leases()
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for d in declared:
        commit = commits.get(d.digest)
        outcome = commit.outcome if commit is not None else None
        if outcome == "pruned" and not policy.counts_as_done(outcome, d.stage):
            outcome = None
        state = policy.state(outcome, failures.get(d.digest, 0), leases.get(d.digest))
        word = outcome if state == "done" and outcome is not None else state
        row = counted.setdefault((d.cell, d.stage), {})
        row[word] = row.get(word, 0) + 1
    words = ("finished", "pruned", "diverged", "given up", "running", "pending")
    rows = [
        {"cell": cell, "stage": stage, **{w: row.get(w, 0) for w in words}}
        for (cell, stage), row in counted.items()
    ]
    emit(rows, None, options.json)
    if not options.json:
        driver = driver_of(ledger.store, study)
        who = f"process {driver['pid']} on {driver['host']}" if driver else "nobody"
        print(f"\n{study}: {who} drives it now")
    return 0

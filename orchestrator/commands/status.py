"""``segprint status``: how far a study is, from the store alone; or what a cluster has and runs."""

from __future__ import annotations

from argparse import Namespace

import cluster
import search_spaces
from cluster import Remote, _jobs
from cluster.existing import Existing
from orchestrator.commands import emit, ledger_of
from orchestrator.ledger.driver_lock import current_driver
from orchestrator.planning import trial_state
from orchestrator.remote.launcher import launch, shown, studies


def main(options: Namespace) -> int:
    """Of a cluster by name or path; else of a space by name or path, or a study by its name."""
    if cluster.is_cluster(options.what):
        return _of_cluster(options)
    if options.dry_run:
        raise ValueError(f"--dry-run is for a cluster (choices: {', '.join(cluster.names())})")
    return _of_study(options)


def _of_cluster(options: Namespace) -> int:
    """Its nodes and the studies that were submitted, as it tells itself."""
    where = cluster.load(options.what)
    if isinstance(where, Existing):
        if options.dry_run:
            print(f"# to {where.jobs()}: a list of its nodes and jobs")
            return 0
        rows = _jobs.state(where.jobs())
        if options.json:
            emit([row._asdict() for row in rows], None, True)
        else:
            print("\n".join(_jobs.lines(rows)))
        return 0
    if not isinstance(where, Remote):
        raise ValueError(
            f"cluster {options.what!r} lives as long as each sweep: segprint status SPACE says how"
            " far a study is"
        )
    if options.dry_run:
        print(shown(where, None, where.status()))
        return 0
    if options.json:
        found = studies(where)
        emit([{"what": "study", "name": k, "state": v} for k, v in found.items()], None, True)
        return 0
    return launch(where, None, where.status())


def _of_study(options: Namespace) -> int:
    """One line per cell and stage."""
    study = options.what
    if study.endswith(".py") or study in search_spaces.names():
        study, _ = search_spaces.load(study)
    ledger = ledger_of(options)
    declared = ledger.studies.current(study)
    if not declared:
        raise ValueError(f"study {study!r} has no trial in {ledger.store.url}")
    commits, failures, leases = (
        ledger.commits(),
        ledger.failed_attempts.counts(),
        ledger.leases.ages(),
    )
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for d in declared:
        commit = commits.get(d.digest)
        outcome = commit.outcome if commit is not None else None
        if outcome == "pruned" and not trial_state.counts_as_done(outcome, d.stage):
            outcome = None
        state = trial_state.state(outcome, failures.get(d.digest, 0), leases.get(d.digest))
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
        driver = current_driver(ledger.store, study)
        who = f"process {driver.process.pid} on {driver.process.host}" if driver else "nobody"
        print(f"\n{study}: {who} drives it now")
    return 0

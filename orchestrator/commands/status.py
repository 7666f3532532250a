"""``segprint status``: the progress of a study, from the store alone, or the state of a cluster."""

from __future__ import annotations

from argparse import Namespace

import cluster
import search_spaces
from cluster import Remote, _jobs
from cluster.existing import Existing
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, say
from orchestrator.formatting import plural, size
from orchestrator.ledger.commits import counted as counted_commits
from orchestrator.ledger.commits import list_commits
from orchestrator.ledger.driver_lock import current_driver
from orchestrator.planning import trial_state
from orchestrator.remote.launcher import launch, shown, studies
from orchestrator.tables.needed_weights import needed_weights


def main(options: Namespace) -> int:
    """Print the status of a cluster if there is one of this name, else of a space or study."""
    if cluster.is_cluster(options.what):
        return _cluster_status(options)
    if options.dry_run:
        raise ValueError(f"--dry-run needs a cluster (choices: {', '.join(cluster.names())})")
    return _study_status(options)


def _cluster_status(options: Namespace) -> int:
    """Print the nodes of a cluster and the studies that were submitted to it."""
    where = cluster.load(options.what)
    if isinstance(where, Existing):
        if options.dry_run:
            say(f"# to {where.jobs()}: a list of its nodes and jobs")
            return 0
        rows = _jobs.state(where.jobs())
        if options.json:
            emit([row._asdict() for row in rows], None, True)
        else:
            say("\n".join(_jobs.lines(rows)))
        return 0
    if not isinstance(where, Remote):
        raise ValueError(
            f"cluster {options.what!r} exists only during a sweep: segprint status SPACE shows the"
            " progress of a study"
        )
    if options.dry_run:
        print(shown(where, None, where.status()))
        return 0
    if options.json:
        submitted = studies(where)
        rows = [{"what": "study", "name": k, "state": v} for k, v in submitted.items()]
        emit(rows, None, True)
        return 0
    return launch(where, None, where.status())


def _study_status(options: Namespace) -> int:
    """Print the number of trials in each state, per cell and stage."""
    study = options.what
    if study.endswith(".py") or study in search_spaces.names():
        study, _ = search_spaces.load(study)
    ledger = ledger_of(options)
    declared = ledger.studies.current(study)
    if not declared:
        raise ValueError(f"study {study!r} has no trial in {ledger.store.url}")
    listed = list_commits(ledger.store)
    commits, failures = counted_commits(listed), ledger.failed_attempts.counts(listed)
    leases = ledger.leases.ages()
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for d in declared:
        commit = commits.get(d.digest)
        outcome = commit.outcome if commit is not None else None
        if outcome == "pruned" and not trial_state.counts_as_done(outcome, d.stage):
            outcome = None
        state = trial_state.state(outcome, failures.get(d.digest, 0), leases.get(d.digest))
        column = outcome if state == "done" and outcome is not None else state
        row = counted.setdefault((d.cell, d.stage), {})
        row[column] = row.get(column, 0) + 1
    columns = ("finished", "pruned", "diverged", "given up", "running", "pending")
    rows = [
        {"cell": cell, "stage": stage, **{c: row.get(c, 0) for c in columns}}
        for (cell, stage), row in counted.items()
    ]
    emit(rows, None, options.json, every=options.all)
    if not options.json:
        driver = current_driver(ledger.store, study)
        who = f"process {driver.process.pid} on {driver.process.host}" if driver else "nobody"
        say(f"\n{study}: {who} drives it now")
        sizes = ledger.weights.sizes()
        needed = needed_weights(ledger, study, strict=False) if sizes else {}
        kept = [n for training, n in sizes.items() if training in needed]
        if kept:
            say(f"weights of {plural(len(kept), 'training')}: {size(sum(kept))}")
    return 0

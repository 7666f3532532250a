"""``segprint status``: the progress of a study, from the store alone, or the state of a cluster."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cluster
import search_spaces
from cluster import Remote, _jobs
from cluster.existing import Existing
from cluster.local import Local
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, passed_on, say
from orchestrator.formatting import clock, nearest, plural, significant, size
from orchestrator.ledger.commits import Commit, list_commits
from orchestrator.ledger.commits import counted as counted_commits
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.driver_lock import Driver, last_driver
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import trial_state
from orchestrator.planning.running_trials import RunningTrial, running_trials
from orchestrator.remote.launcher import launch, shown, studies
from orchestrator.tables.needed_weights import needed_weights
from orchestrator.views.table_formats import cell
from trainables.training.run_status import RunStatus

COLUMNS = ("finished", "pruned", "diverged", "given up", "running", "pending")
"""The states in which trials are counted."""


def main(options: Namespace) -> int:
    """Print the status of a cluster if there is one of this name, else of a space or study."""
    if cluster.is_cluster(options.what):
        return _cluster_status(options)
    if options.dry_run:
        known = (name for name in cluster.names() if not isinstance(cluster.load(name), Local))
        raise ValueError(f"--dry-run needs a cluster (choices: {', '.join(known)})")
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
        say(shown(where, None, where.status()))
        return 0
    if options.json:
        submitted = studies(where)
        rows = [{"what": "study", "name": k, "state": v} for k, v in submitted.items()]
        emit(rows, None, True)
        return 0
    with passed_on():
        return launch(where, None, where.status())


def _study_status(options: Namespace) -> int:
    """Print the number of trials in each state, per cell and stage, and the running trials."""
    study = options.what
    if study.endswith(".py") or study in search_spaces.names():
        study, _ = search_spaces.load(study)
    ledger = ledger_of(options)
    declared = ledger.studies.current(study)
    if not declared:
        known = ledger.studies.names(retired=True)
        hint = nearest(study, {*known, *search_spaces.names()})
        raise ValueError(
            f"study {study!r} has no trial in {ledger.store.url}{hint}"
            f" (studies there: {', '.join(known) or 'none'})"
        )
    listed = list_commits(ledger.store)
    commits, failures = counted_commits(listed), ledger.failed_attempts.counts(listed)
    leases = ledger.leases.ages()
    states = {d.key: _state(d, commits, failures, leases) for d in declared}
    counted: dict[tuple[str, str], Counter[str]] = {}
    for d in declared:
        counted.setdefault((d.cell, d.stage), Counter())[states[d.key]] += 1
    over = {d.key for d in declared if states[d.key] not in ("running", "pending")}
    trials = running_trials(ledger, declared, over)
    rows: list[dict[str, Any]] = [
        {"cell": cell, "stage": stage, **{c: count[c] for c in COLUMNS}}
        for (cell, stage), count in counted.items()
    ]
    if options.json:
        for row in rows:
            slot = (row["cell"], row["stage"])
            row["in_flight"] = [
                t.row for t in trials if (t.declared.cell, t.declared.stage) == slot
            ]
        emit(rows, None, True)
        return 0
    emit(rows, None, False, every=options.all)
    _print_running([t for t in trials if t.alive], every=options.all)
    say()
    for line in _remarks(ledger, study, [t for t in trials if not t.alive]):
        say(line)
    return 0


def _state(
    slot: Declared,
    commits: Mapping[str, Commit],
    failures: Mapping[str, int],
    leases: Mapping[str, float],
) -> str:
    """Return the column in which a trial is counted."""
    commit = commits.get(slot.digest)
    outcome = commit.outcome if commit is not None else None
    if outcome == "pruned" and not trial_state.counts_as_done(outcome, slot.stage):
        outcome = None
    state = trial_state.state(outcome, failures.get(slot.digest, 0), leases.get(slot.digest))
    return outcome if state == "done" and outcome is not None else state


def _print_running(trials: Sequence[RunningTrial], *, every: bool) -> None:
    """Print how far each running trial is, where it runs, and how fast."""
    if not trials:
        return
    searched = any(trial.values for trial in trials)
    rows = [
        {
            "running": trial.name,
            **({"values": _values(trial.values)} if searched else {}),
            "step": _step(trial.status),
            "Dice": None if trial.status.score is None else f"{trial.status.score:.3f}",
            "time left": trial.time_left,
            "steps/s": significant(trial.status.steps_per_second),
            "device": _device(trial.status),
            "node": trial.status.host,
            "last sign": f"{clock(trial.age)} ago",
        }
        for trial in trials
    ]
    say()
    emit(rows, None, False, every=every)


def _step(status: RunStatus) -> str | None:
    return None if status.steps is None else f"{status.step} of {status.steps}"


def _device(status: RunStatus) -> str | None:
    """Return the name of the device without its instruction set, and how many there are."""
    name = status.device.partition(" (")[0]
    return f"{status.workers} x {name}" if status.workers > 1 else name or None


def _values(values: Mapping[str, Any]) -> str:
    """Return suggested values in one line, each under the last part of its name."""
    return ", ".join(f"{name.rpartition('.')[2]}={cell(value)}" for name, value in values.items())


def _remarks(ledger: Ledger, study: str, interrupted: Sequence[RunningTrial]) -> Iterator[str]:
    """Yield who drives the study, which trials were interrupted, and the size of the weights."""
    yield f"{study}: {_driver(last_driver(ledger.store, study))}"
    for trial in interrupted:
        at = _step(trial.status)
        yield (
            f"{trial.name}: interrupted{f' at step {at}' if at else ''}, its last sign of life was"
            f" {clock(trial.age)} ago on {trial.status.host}; the next sweep resumes it"
        )
    sizes = ledger.weights.sizes()
    needed = needed_weights(ledger, study, strict=False) if sizes else {}
    kept = [n for training, n in sizes.items() if training in needed]
    if kept:
        yield f"weights of {plural(len(kept), 'training')}: {size(sum(kept))}"


def _driver(driver: Driver | None) -> str:
    """Return who drives the study, as text; a driver that was killed leaves its lock behind."""
    if driver is None:
        return "nobody drives it now"
    who, age = f"process {driver.process.pid} on {driver.process.host}", clock(driver.age)
    if not driver.gone(driver.age):
        return f"{who} drives it now (last sign {age} ago)"
    return f"nobody drives it now: {who} ended without a sign {age} ago; the same sweep continues"

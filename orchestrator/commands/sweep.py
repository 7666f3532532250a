"""``segprint sweep``: train what a study still lacks, under Ray."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

import cluster
from cluster import Cluster
from orchestrator.analyses import catalog
from orchestrator.commands.options import ledger_of, program, repeated, study_of
from orchestrator.commands.output import console, emit, print_json, say
from orchestrator.formatting import memory, plural, with_interval
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import trial_state
from orchestrator.planning.ceilings import ceilings
from orchestrator.planning.cost import Estimator
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.same_trials import same_trials
from orchestrator.planning.unread_trials import unread_trials
from orchestrator.planning.validation import ready
from orchestrator.report.cell_names import CellNames
from orchestrator.sweep import timeouts
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.views.catalog import Catalog
from search_spaces import Space
from trainables.part import require

COLUMNS = {
    "task": "task",
    "model": "model",
    "trained_on": "trained on",
    "arm": "arm",
    "cell": "cell",
    "dice": "Dice [95 %]",
    "iou": "IoU [95 %]",
    "ece": "ECE [95 %]",
    "brier": "Brier",
    "passes_per_image": "passes",
    "seconds_per_image": "s per case",
    "train_device_seconds": "training s",
    "memory": "memory",
}
"""Columns of the leaderboard."""


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep runs; nothing here changes a number."""

    on: str | Cluster = "local"
    silence: float | None = None
    """The permitted seconds without a sign of life; None: the default."""
    mirror: str | None = None
    """The experiment tracker that is sent a copy."""
    again: bool = False
    """Retry trials that were given up."""

    @property
    def seconds(self) -> float:
        """The permitted seconds without a sign of life."""
        silence = timeouts.SILENCE_SECONDS if self.silence is None else self.silence
        require(
            silence >= timeouts.SHORTEST_SILENCE,
            f"--silence={silence:g} must be at least {timeouts.SHORTEST_SILENCE:g} seconds",
        )
        return silence

    def cluster(self, space: str) -> Cluster:
        """Return the cluster, which must be reachable from here."""
        where = cluster.load(self.on) if isinstance(self.on, str) else self.on
        if not isinstance(where, Cluster):
            raise ValueError(
                f"cluster {self.on!r} cannot be reached from here: segprint submit {self.on}"
                f" {space}"
            )
        return where


def main(options: Namespace) -> int:
    """Sweep, then print the leaderboard."""
    study, space = study_of(options, options.space)
    how = SweepOptions(options.on, options.silence, options.mirror, options.again)
    command = repeated("sweep", options.space, options)
    return run_study(study, space, how, options, command, file=options.space)


def run_study(
    study: str, space: Space, how: SweepOptions, options: Namespace, command: str, file: str = ""
) -> int:
    """Run a study and print its leaderboard; ``command`` and ``file`` are named in messages."""
    ledger = ledger_of(options)
    # SIGTERM stops like Ctrl-C, also before the sweep handles it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = console(stderr=options.json)
    plan, interrupted = run_sweep(study, space, ledger, how, screen, file)
    tables = catalog(ledger, (study,))
    if options.json:
        board = tables["leaderboard"].to_pylist()
        print_json({**summary(plan), "leaderboard": board})
    else:
        leaderboard(tables, every=options.all)
        show = shlex.join([*program(options), "show"])
        for line in remarks(plan, f"`{command} --again`", show):
            say(line)
    return 130 if interrupted else exit_code(plan)


def run_sweep(
    study: str, space: Space, ledger: Ledger, how: SweepOptions, screen: Console, file: str
) -> tuple[Plan, bool]:
    """Train what a study lacks; return the plan afterwards and whether it was interrupted.

    ``file`` is the space as the command line takes it, for messages.
    """
    silence = how.seconds
    ready(space)
    _require_tracker(how.mirror)
    where = how.cluster(file)
    ledger.store.check()
    ledger = Ledger(ledger.store.patient(timeouts.STORE_SECONDS))
    display = ProgressDisplay(screen, Estimator(ledger))
    # Ray reads its variables at its first import, which is that of the driver.
    os.environ.update({k: v for k, v in where.environment().items() if k not in os.environ})
    from orchestrator.sweep.driver import sweep

    plan = sweep(study, space, ledger, where, display, silence, how.mirror, again=how.again)
    return plan, display.interrupted


def _require_tracker(name: str | None) -> None:
    """Check that the package of ``--mirror`` is installed."""
    if name is not None and importlib.util.find_spec(name) is None:
        raise ValueError(
            f"--mirror {name}: that package is not installed; pip install 'segprint[{name}]'"
        )


def exit_code(plan: Plan) -> int:
    """Return 0 if the study is complete and no trial failed, else 1.

    A search trial that diverged is a result and no failure. A study that only reads, and of whose
    weights none are kept, is not complete.
    """
    wrong = [t for t in failed_or_diverged(plan) if t.state == "given up" or t.stage == "final"]
    nothing = bool(plan.without_weights) and not plan.trials
    return 0 if plan.complete and not wrong and not plan.without_winner and not nothing else 1


def failed_or_diverged(plan: Plan) -> list[Trial]:
    """Return the trials that were given up or that diverged."""
    return [t for t in plan.trials if t.state == "given up" or t.outcome == "diverged"]


def summary(plan: Plan) -> dict[str, Any]:
    """Return the end of a sweep for a script."""
    return {
        "study": plan.study,
        "complete": plan.complete,
        "done": sum(t.state == "done" for t in plan.trials),
        "failed_or_diverged": [t.digest for t in failed_or_diverged(plan)],
        "without_winner": plan.without_winner,
        "budget_spent": plan.budget_spent,
        "left": left(plan),
    }


def left(plan: Plan) -> int:
    """Return the number of trials that the study still lacks."""
    return len(plan.pending) + plan.unknown


def remarks(plan: Plan, retry: str, show: str = "segprint show") -> Iterator[str]:
    """Yield a line for everything that went wrong.

    ``retry`` is what retries given-up trials, ``show`` the command that prints a trial.
    """
    for trial in failed_or_diverged(plan):
        yield f"{trial.label}: {trial.outcome}, see `{show} {trial.digest}`"
    given_up = sum(t.state == "given up" for t in plan.trials)
    if given_up:
        yield (
            f"{plural(given_up, 'trial')} given up after {trial_state.MOST_FAILURES} failed"
            f" attempts; {retry} retries them"
        )
    yield from unread_trials(plan)
    for name in plan.without_winner:
        yield f"{name}: no search trial finished within the limits, so none could be chosen"
    yield from same_trials(plan)
    yield from ceilings(plan)
    if plan.budget_spent is not None:
        spent = f"the budget is spent, {plan.budget_spent}"
        yield f"{plan.study}: {spent}; {plural(left(plan), 'trial')} left"
    elif not plan.complete:
        yield f"{plan.study}: stopped before the end; the same command continues"


def leaderboard(tables: Catalog, *, every: bool) -> None:
    """Print the leaderboard; a column of names distinguishes several cells of one arm."""
    names = CellNames(tables)
    rows = [
        {
            **row,
            "cell": names(row["study"], row["cell"]),
            **{k: _interval(row, k) for k in ("dice", "iou", "ece")},
            "seconds_per_image": round(row["seconds_per_image"], 4),
            "train_device_seconds": round(row["train_device_seconds"], 1),
            "memory": memory(row),
        }
        for row in tables["leaderboard"].to_pylist()
    ]
    repeated = len({(r["task"], r["model"], r["arm"]) for r in rows}) < len(rows)
    external = any(row["trained_on"] != row["task"] for row in rows)
    absent = {name for name, shown in (("cell", repeated), ("trained_on", external)) if not shown}
    columns = {k: v for k, v in COLUMNS.items() if k not in absent}
    if rows:
        say()
    emit(rows, columns, False, every=every)


def _interval(row: dict[str, Any], metric: str) -> str | None:
    """Return a metric and its confidence interval as text."""
    return None if row[metric] is None else with_interval(row, metric)

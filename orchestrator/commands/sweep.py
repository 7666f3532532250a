"""``segprint sweep``: train whatever a study still lacks, under Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from argparse import Namespace
from contextlib import nullcontext, redirect_stdout
from typing import Any

import cluster
import search_spaces
from cluster.local import usable_cpus
from orchestrator.analyses import catalog
from orchestrator.commands import console, emit, ledger_of, limited
from orchestrator.formatting import memory
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import trial_state
from orchestrator.planning.cells import ready
from orchestrator.planning.cost import Estimator
from orchestrator.planning.plan import Plan, Trial
from orchestrator.sweep import timeouts
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.views.catalog import Catalog
from search_spaces import Space
from trainables.part import require


def main(options: Namespace) -> int:
    """Sweep, then print the leaderboard."""
    study, space = search_spaces.load(options.space)
    space = limited(space, options.most)
    silence = _checked(options, space)
    where = cluster.load(options.on)
    if not isinstance(where, cluster.Cluster):
        raise ValueError(
            f"cluster {options.on!r} is not reached from here: segprint submit {options.on}"
            f" {options.space}"
        )
    ledger = ledger_of(options)
    ledger.store.check()
    ledger = Ledger(ledger.store.patient(timeouts.STORE_SECONDS))
    # Ray reads these when it is first imported, so they come before anything that imports it.
    os.environ.update({k: v for k, v in where.environment().items() if k not in os.environ})
    from orchestrator.sweep.driver import sweep

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, from the start
    screen = ProgressDisplay(console(stderr=options.json), Estimator(ledger), usable_cpus())
    # Ray's words on what died go to stdout, which is the script's.
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        made = sweep(
            study, space, ledger, where, screen, silence, options.mirror, again=options.again
        )
    tables = catalog(ledger, (study,))
    if options.json:
        board = tables["leaderboard"].to_pylist()
        print(json.dumps({**summary(made), "leaderboard": board}, indent=1, default=str))
    else:
        leaderboard(tables)
        _say(made, options.space)
    return 130 if screen.interrupted else exit_code(made)


def exit_code(made: Plan) -> int:
    """0 only if the study is complete and nothing failed: a searched trial that diverged did not,
    it is an answer.
    """
    wrong = [t for t in bad_ends(made) if t.state == "given up" or t.stage == "final"]
    return 0 if made.complete and not wrong and not made.without_winner else 1


def _checked(options: Namespace, space: Space) -> float:
    """Everything that can be wrong before anything starts; for how long a trial may be silent."""
    silence = timeouts.SILENCE_SECONDS if options.silence is None else options.silence
    require(
        silence >= timeouts.SHORTEST_SILENCE,
        f"--silence={silence:g} must be at least {timeouts.SHORTEST_SILENCE:g} seconds",
    )
    ready(space)
    if options.mirror is not None and importlib.util.find_spec(options.mirror) is None:
        extra = f"pip install 'segprint[{options.mirror}]'"
        raise ValueError(f"--mirror {options.mirror}: that package is not installed; {extra}")
    return silence


def bad_ends(made: Plan) -> list[Trial]:
    """Trials that were given up, or that diverged."""
    return [t for t in made.trials if t.state == "given up" or t.outcome == "diverged"]


def summary(made: Plan) -> dict[str, Any]:
    """A sweep's end, for a script."""
    return {
        "study": made.study,
        "complete": made.complete,
        "done": sum(t.state == "done" for t in made.trials),
        "failed_or_diverged": [t.digest for t in bad_ends(made)],
        "hopeless": made.without_winner,
        "budget_spent": made.budget_spent,
        "left": left(made),
    }


def _say(made: Plan, space: str) -> None:
    """The same for a person: what went wrong, and what can be done about it."""
    for trial in bad_ends(made):
        print(f"{trial.label} ({trial.digest}): {trial.outcome}, see `segprint show`")
    given_up = sum(t.state == "given up" for t in made.trials)
    if given_up:
        what = f"{given_up} trials are given up after {trial_state.MOST_FAILURES} failed attempts"
        print(f"{what}; `segprint sweep {space} --again` tries them anew")
    for name in made.without_winner:
        print(f"{name}: no search trial finished within the limits, so nothing could be chosen")
    if made.budget_spent is not None:
        print(
            f"{made.study}: the budget is spent, {made.budget_spent}; {left(made)} trials are left"
        )
    elif not made.complete:
        print(f"{made.study}: stopped before the end; the same command continues")


def left(made: Plan) -> int:
    """Trials that the study still lacks."""
    return len(made.pending) + made.unknown


def leaderboard(tables: Catalog) -> None:
    """The table a sweep ends with."""
    rows = [
        {
            **row,
            **{
                k: None
                if row[k] is None
                else f"{row[k]:.3f} [{row[f'{k}_low']:.3f}, {row[f'{k}_high']:.3f}]"
                for k in ("dice", "iou", "ece")
            },
            "seconds_per_image": round(row["seconds_per_image"], 4),
            "train_device_seconds": round(row["train_device_seconds"], 1),
            "memory": memory(row),
        }
        for row in tables["leaderboard"].to_pylist()
    ]
    columns = {
        "task": "task",
        "model": "model",
        "arm": "arm",
        "dice": "Dice [95 %]",
        "iou": "IoU [95 %]",
        "ece": "ECE [95 %]",
        "brier": "Brier",
        "passes_per_image": "passes",
        "seconds_per_image": "s per case",
        "train_device_seconds": "training s",
        "memory": "memory",
    }
    print()
    emit(rows, columns, False)

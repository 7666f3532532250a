"""Rounds of a sweep, driven without Ray."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console

from cluster import Resources
from orchestrator.ledger.driver_lock import DriverLock
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.cost import Estimator
from orchestrator.planning.plan import Plan, Trial, make_plan
from orchestrator.planning.resources import ResourceRequest
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import unfinished_searches
from orchestrator.sweep.budget import BudgetMeter
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.declarations import declare
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.round import Round
from search_spaces import Choice, Search, Space, Uniform
from tests.conftest import SMALL

SPACE = Space(
    question="?",
    config=SMALL,
    arms={"searched": {"mode": {"diffusion": {"schedule": Choice(["linear", "cosine"])}}}},
    search=Search(trials=6),
)
RANGES = {"t_high": Uniform(0.5, 1.0), "schedule": Choice(["linear", "cosine"])}
SEARCHED = dataclasses.replace(
    SPACE, arms={"searched": {"mode": {"diffusion": RANGES}}}, search=Search(trials=10)
)


def started(made: Plan, queue: list[Trial], ledger: Ledger) -> Round:
    """A round as the sweep makes one."""
    display = ProgressDisplay(Console(quiet=True), Estimator(ledger))
    lock = DriverLock(ledger.store, "s", 1, 0.0)
    context = SweepContext(ledger, display, lock, Resources(1, 0), BudgetMeter(made, ledger))
    history = SearchHistory(made, ledger)
    searches = unfinished_searches(made, history)
    return Round(made, queue, searches, history, ResourceRequest(), context)


def begun(ledger: Ledger, space: Space) -> Round:
    """A round with everything declared that is known."""
    made = make_plan("s", space, ledger)
    ledger.studies.describe("s", {"revision": made.revision})
    declare(made, ledger)
    return started(made, [t for t in made.pending if t.stage != "search"], ledger)


def drive(
    ledger: Ledger, most: int = 100, space: Space = SPACE, run: Round | None = None
) -> list[str]:
    """One round: every handed trial is committed as finished; the digests, in order."""
    run, handed = run or begun(ledger, space), list[str]()
    while len(handed) < most:
        name = f"tune{len(handed)}"
        trial = run.next(name)
        if trial is None:
            break
        score = 1.0 - abs(trial.values.get("mode.diffusion.t_high", 0.5) - 0.8)
        report = {"step": 6, "steps": 6, "score": score, "best": score}
        run.reported(name, report)
        row: dict[str, Any] = {"outcome": "finished", "score": score}
        step = {"step": 6, "score_sum": score, "score_count": 1}
        ledger.commit(trial.digest, "finished", {"trials": [row], "steps": [step]})
        run.ended(name, {"outcome": "finished"}, None)
        handed.append(trial.digest)
    return handed

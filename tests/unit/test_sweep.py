"""The order in which a sweep hands out trials, driven without Ray."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from cluster import Resources
from orchestrator.budget import Purse
from orchestrator.estimate import Estimator
from orchestrator.fill import searches
from orchestrator.ledger import Ledger
from orchestrator.memory import Memory
from orchestrator.needs import Needs
from orchestrator.owner import Claim
from orchestrator.plan import Plan, Trial, plan
from orchestrator.round import Crew, Round, declare
from orchestrator.screen import Screen
from search_spaces import Choice, Search, Space
from tests.conftest import SMALL

SPACE = Space(
    question="?",
    config=SMALL,
    arms={"searched": {"mode": {"diffusion": {"schedule": Choice(["linear", "cosine"])}}}},
    search=Search(trials=6),
)


def started(made: Plan, queue: list[Trial], ledger: Ledger) -> Round:
    """A round as the sweep makes one."""
    screen, memory = Screen(Console(quiet=True), Estimator(ledger), 1), Memory(made, ledger)
    claim = Claim(ledger.store, "s", 1, {})
    crew = Crew(ledger, screen, claim, Resources(1, 0), Purse(made, ledger))
    return Round(made, queue, searches(made, memory), memory, Needs(), crew)


def drive(ledger: Ledger, most: int = 100) -> list[str]:
    """One round: every handed trial is committed as finished; the digests, in order."""
    made = plan("s", SPACE, ledger)
    ledger.studies.describe("s", {"revision": made.revision})
    declare(made, ledger)
    queue = [t for t in made.pending if t.stage != "search"]
    run = started(made, queue, ledger)
    handed: list[str] = []
    while len(handed) < most:
        name = f"tune{len(handed)}"
        trial = run.next(name)
        if trial is None:
            break
        run.reported(name, {"step": 6, "steps": 6, "score": 0.5})
        row: dict[str, Any] = {"outcome": "finished", "score": 0.5}
        ledger.commit(trial.digest, "finished", {"trials": [row]})
        run.ended(name, {"outcome": "finished"}, None)
        handed.append(trial.digest)
    return handed


def test_a_search_that_repeats_itself_ends_and_trains_nothing_twice(ledger: Ledger) -> None:
    first = drive(ledger)
    assert len(first) == len(set(first)) == 2  # six suggestions over two configs
    made = plan("s", SPACE, ledger)
    assert made.unsuggested == {}
    assert made.complete  # the chosen config is one that was searched at full length
    assert [t.state for t in made.trials if t.stage == "final"] == ["done"]
    drive(ledger)
    declared = ledger.studies.current("s")
    assert [d.stage for d in declared].count("final") == 1
    assert [d.stage for d in declared].count("search") == 6


def test_an_interrupted_round_goes_on_where_it_was(ledger: Ledger) -> None:
    first = drive(ledger, most=1)
    second = drive(ledger)
    assert not set(first) & set(second)
    assert plan("s", SPACE, ledger).complete


def test_an_error_inside_tunes_hooks_is_remembered(ledger: Ledger) -> None:
    run = started(plan("s", SPACE, ledger), [], ledger)
    with pytest.raises(OSError, match="away"), run.remembering():
        raise OSError("the store is away")
    assert str(run.error) == "the store is away"

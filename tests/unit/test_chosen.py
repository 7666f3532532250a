"""What a search ends with: the best by its objectives within limits; and what it starts from."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.commands.plan import fronts
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import make_plan
from orchestrator.search.history import SearchHistory
from search_spaces import Choice, Search, Space
from tests.conftest import SMALL
from tests.unit.test_plan import ARMS, suggest


def measure(ledger: Ledger, digest: str, dice: float, ece: float, passes: int = 4) -> None:
    """Commit a finished trial with rows of one validation case, confident and off by ``ece``."""
    about = {"split": "val", "case": "v0", "group": "g", "class": "c", "reading": "sample"}
    test = {**about, "split": "test"}
    half = {"bin": 600, "count": 100, "square_sum": 25.0, "nll_sum": 69.0}
    rows = [
        {**key, **half, "p_sum": 50.0, "y_sum": 50.0 + 100 * off}
        for key, off in ((about, ece), (test, 0.0))
    ]
    trial = {"outcome": "finished", "score": dice, "passes_per_image": passes}
    ledger.commit(digest, "finished", {"trials": [trial], "calibration": rows})


def judged(**settings: Any) -> Space:
    search = Search(trials=3, overrides={"train.steps": 2}, **settings)
    return Space(question="?", config=SMALL, arms=ARMS, search=search)


MEASURED = {"linear": (0.80, 0.10), "cosine": (0.79, 0.02), "sigmoid": (0.70, 0.05)}


def searched(ledger: Ledger, wanted: Space) -> dict[str, str]:
    """A study whose search is over; the schedule of each digest."""
    made = make_plan("s", wanted, ledger)
    found = {suggest(ledger, made, i, name): name for i, name in enumerate(MEASURED)}
    for digest, name in found.items():
        measure(ledger, digest, *MEASURED[name])
    return found


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, "linear"),
        ({"objectives": ("-ece",)}, "cosine"),
        ({"objectives": ("dice", "-ece")}, "linear"),
        ({"objectives": ("-ece", "dice")}, "cosine"),
        ({"limits": {"ece": 0.06}}, "cosine"),
        ({"objectives": ("-ece",), "limits": {"dice": 0.795}}, "linear"),
        ({"limits": {"ece": 0.01}}, None),
        ({"objectives": ("-device_seconds",)}, None),  # nobody measured it
    ],
)
def test_the_final_config_is_the_best_by_the_first_objective_within_the_limits(
    ledger: Ledger, settings: dict[str, Any], chosen: str | None
) -> None:
    wanted = judged(**settings)
    searched(ledger, wanted)
    made = make_plan("s", wanted, ledger)
    finals = [t for t in made.trials if t.stage == "final" and t.cell.searched]
    assert [t.values["mode.diffusion.schedule"] for t in finals] == ([chosen] if chosen else [])
    assert made.without_winner == ([] if chosen else ["searched"])


def test_plan_shows_the_front_of_several_objectives(ledger: Ledger) -> None:
    wanted = judged(objectives=("dice", "-ece"))
    found = searched(ledger, wanted)
    shown = fronts(make_plan("s", wanted, ledger))
    assert [(found[f["digest"]], f["values"], f["chosen"]) for f in shown] == [
        ("linear", {"dice": 0.8, "ece": 0.1}, True),
        ("cosine", {"dice": 0.79, "ece": 0.02}, False),
    ]


def test_a_search_starts_from_what_other_studies_found_of_the_same_task(ledger: Ledger) -> None:
    searched(ledger, judged())
    wider = {"mode": {"diffusion": {"schedule": Choice(["linear", "cosine", "laplace"])}}}
    arms = {"mine": wider}
    wanted = judged(warm_start=("s",))
    longer = {**SMALL, "train": {**SMALL["train"], "steps": 8}}  # type: ignore[dict-item]
    made = make_plan("t", dataclasses.replace(wanted, arms=arms, config=longer), ledger)
    assert made.suggestions_left == {"mine": 3}  # none of them is this study's
    (cell,) = made.cells
    past = SearchHistory(made, ledger).trials(cell)
    assert [(p.values["mode.diffusion.schedule"], p.warm_start) for p in past] == [
        ("linear", True),
        ("cosine", True),
    ]  # sigmoid does not fit
    assert [p.standing.values for p in past if p.standing] == [(0.8,), (0.79,)]
    other = {**SMALL, "task": {"synthetic": {"size": 16, "cases": 5}}}
    elsewhere = make_plan("t", dataclasses.replace(wanted, arms=arms, config=other), ledger)
    assert SearchHistory(elsewhere, ledger).trials(elsewhere.cells[0]) == []


def test_a_start_from_an_unknown_study_is_refused(ledger: Ledger) -> None:
    searched(ledger, judged())
    with pytest.raises(ValueError, match=r"unknown Search: warm_start study 'z'.*choices: s"):
        make_plan("t", judged(warm_start=("z",)), ledger)

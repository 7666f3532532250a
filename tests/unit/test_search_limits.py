"""Limits and constraints that come later, and the one meaning of passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan, Trial, make_plan
from orchestrator.reproduce import InMemorySink
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import CellSearch
from orchestrator.sweep.declarations import declare_trial
from search_spaces import Integer, Search, Space
from tests.conftest import SMALL
from tests.unit.test_chosen import measure
from tests.unit.test_sweep import begun
from trainables.config import Config
from trainables.evaluation.predict import passes_per_image
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt

MEMBERS = "mode.diffusion.members"
MODE = {"diffusion": {"members": Integer(1, 3), "sampler": {"ddim": {"steps": 2}}}}
IMAGES = {"task": {"nuclei": {"size": 32}}, "test": {"unit": "images"}}


def space(config: dict[str, Any] = SMALL, **changes: Any) -> Space:
    """A search over members, each of two passes a patch."""
    asked = {k: changes.pop(k) for k in ("limits", "warm_start") if k in changes}
    search = Search(trials=3, **asked)
    return Space("?", config, arms={"searched": {"mode": MODE}}, search=search, **changes)


def suggest(ledger: Ledger, made: Plan, *members: int) -> list[str]:
    """Search trials as a sweep declares them."""
    (cell,) = made.cells
    found: list[str] = []
    for index, count in enumerate(members):
        config = cell.config({MEMBERS: count}, {}, 0)
        trial = Trial(cell, "search", index, config, {MEMBERS: count}, 1, None, "pending")
        declare_trial(made, trial, ledger)
        found.append(trial.digest)
    return found


def members(made: Plan) -> list[Any]:
    return [t.values[MEMBERS] for t in made.trials if t.stage == "search"]


def test_a_limit_on_passes_that_comes_later_leaves_out_what_has_not_run(ledger: Ledger) -> None:
    one, _, three = suggest(ledger, make_plan("s", space(), ledger), 1, 2, 3)
    measure(ledger, three, dice=0.9, ece=0.1, passes=6)
    limited = make_plan("s", space(limits={"passes": 3}), ledger)
    assert members(limited) == [1, 3]  # the third was trained: it is remembered
    assert limited.suggestions_left == {"searched": 1}
    measure(ledger, one, dice=0.5, ece=0.1, passes=2)
    strict = dataclasses.replace(space(), search=Search(trials=2, limits={"passes": 3}))
    made = make_plan("s", strict, ledger)
    assert {t.values[MEMBERS] for t in made.trials if t.stage == "final"} == {1}


def test_no_two_search_trials_share_an_index_when_a_limit_comes_and_goes(ledger: Ledger) -> None:
    suggest(ledger, make_plan("s", space(), ledger), 1, 2, 3)
    run = begun(ledger, space(limits={"passes": 3}))
    handed = run.next("a")
    assert handed is not None
    assert handed.values[MEMBERS] == 1
    assert run.next("b") is None  # only repetitions are within the limit
    declared = [d for d in ledger.studies.declared("s") if d.stage == "search"]
    assert sorted(i for i, _ in {(d.index, d.digest) for d in declared}) == [0, 1, 2, 3, 4]
    assert members(make_plan("s", space(), ledger)) == [1, 2, 3]


def test_the_best_breaks_no_constraint_that_came_later(ledger: Ledger) -> None:
    for digest, dice in zip(
        suggest(ledger, make_plan("s", space(), ledger), 1, 2, 3), (0.5, 0.6, 0.9), strict=True
    ):
        measure(ledger, digest, dice, ece=0.1)
    ruled = dataclasses.replace(
        space(constraints=(f"{MEMBERS} <= 2",)), search=Search(trials=2), replicates=2
    )
    made = make_plan("s", ruled, ledger)
    assert members(made) == [1, 2]
    assert [t.values[MEMBERS] for t in made.trials if t.stage == "final"] == [2, 2]


def test_what_another_study_lends_keeps_the_constraints(ledger: Ledger) -> None:
    for digest in suggest(ledger, make_plan("old", space(), ledger), 1, 2, 3):
        measure(ledger, digest, dice=0.5, ece=0.1)
    ruled = space(constraints=(f"{MEMBERS} >= 2",), warm_start=("old",))
    made = make_plan("new", ruled, ledger)
    (cell,) = made.cells
    past = SearchHistory(made, ledger).trials(cell)
    assert [p.values[MEMBERS] for p in past] == [2, 3]


def test_passes_before_training_are_those_that_its_row_has(small: Callable[..., Config]) -> None:
    config = small(**IMAGES, model="intensity", mode="feedforward", train={"steps": 0})
    sink = InMemorySink("")
    for _ in attempt(config, sink, WorkerContext()):
        pass
    assert config.mode.passes == 1
    assert passes_per_image(config) == sink.tables["trials"][0]["passes_per_image"] > 1


def test_a_search_compares_passes_per_image_with_their_limit(ledger: Ledger) -> None:
    (cell,) = make_plan("s", space({**SMALL, **IMAGES}), ledger).cells
    one = passes_per_image(cell.config({MEMBERS: 1}, {}, 0))
    assert one > 2
    search = CellSearch(cell, [], Search(trials=4, limits={"passes": 2 * one}))
    asked = [search.ask(str(i)) for i in range(4)]
    assert {v[MEMBERS] for v in asked if v is not None} == {1, 2}

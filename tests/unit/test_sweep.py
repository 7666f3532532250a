"""The order in which a sweep hands out trials, driven without Ray."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster import Resources
from orchestrator.ledger.driver_lock import DriverLock
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.weights import Retention
from orchestrator.planning.cost import Estimator
from orchestrator.planning.plan import Plan, Trial, make_plan
from orchestrator.planning.resources import ResourceRequest
from orchestrator.planning.trainings import readings_first
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import unfinished_searches
from orchestrator.storage.object_store import Store
from orchestrator.sweep.budget import BudgetMeter, spent
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.declarations import declare, declare_trial
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.round import Round
from search_spaces import Budget, Choice, Integer, Search, Space, Uniform
from tests.conftest import SMALL
from trainables.training.trained import DataFacts, Trained

SPACE = Space(
    question="?",
    config=SMALL,
    arms={"searched": {"mode": {"diffusion": {"schedule": Choice(["linear", "cosine"])}}}},
    search=Search(trials=6),
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


def test_a_search_that_repeats_itself_ends_and_trains_nothing_twice(ledger: Ledger) -> None:
    first = drive(ledger)
    assert len(first) == len(set(first)) == 2  # six suggestions over two configs
    made = make_plan("s", SPACE, ledger)
    assert made.suggestions_left == {}
    assert made.complete  # the chosen config is one that was searched at full length
    assert [t.state for t in made.trials if t.stage == "final"] == ["done"]
    drive(ledger)
    declared = ledger.studies.current("s")
    assert [d.stage for d in declared].count("final") == 1
    assert [d.stage for d in declared].count("search") == 6


def test_repeated_suggestions_are_taken_off_what_is_left(ledger: Ledger) -> None:
    run = begun(ledger, SPACE)
    run.display.renew(run.plan)
    assert run.display.left == 6 + 1
    drive(ledger, run=run)
    assert run.display.left == 1  # the final trial, whose config is known after the round


def test_a_config_that_waits_in_two_cells_is_run_once_and_told_to_both(ledger: Ledger) -> None:
    """Both suggested it, and its worker was lost with the driver."""
    arms = {
        name: {"mode": {"diffusion": {"schedule": Choice(options)}}}
        for name, options in {"x": ["linear"], "y": ["linear", "cosine"]}.items()
    }
    space = dataclasses.replace(SPACE, arms=arms, search=Search(trials=2))
    made = make_plan("s", space, ledger)
    ledger.studies.describe("s", {"revision": made.revision})
    for cell in made.cells:
        values = {"mode.diffusion.schedule": "linear"}
        config = cell.config(values, {}, 0)
        trial = Trial(cell, "search", 0, config, values, 1, None, "pending")
        declare_trial(made, trial, ledger)
    run = begun(ledger, space)
    handed = [trial for i in range(9) if (trial := run.next(f"tune{i}")) is not None]
    by_cell = {trial.cell.name: trial.values for trial in handed}
    assert by_cell["x"] == {"mode.diffusion.schedule": "linear"}
    assert len({trial.digest for trial in handed}) == len(handed)
    declared = [d for d in ledger.studies.current("s") if d.stage == "search"]
    assert max(d.index for d in declared) == 1  # two of each cell, as the search asks


def test_suggestions_that_an_edited_space_makes_invalid_are_left_out(ledger: Ledger) -> None:
    """Only the ends of a range are checked beforehand: 12 is no multiple of 8."""
    config = {**SPACE.config, "train": {"batch": Integer(8, 16, step=4), "accumulate": 4}}
    config["train"] |= {"steps": 6, "validate_every": 2}
    before = dataclasses.replace(
        SPACE, config=config, arms={"default": {}}, search=Search(trials=2)
    )
    made = make_plan("s", before, ledger)
    (cell,) = made.cells
    values = {"train.batch": 12}
    trial = Trial(cell, "search", 0, cell.config(values, {}, 0), values, 1, None, "pending")
    declare_trial(made, trial, ledger)
    config = {**config, "train": {**config["train"], "accumulate": 8}}
    after = make_plan("s", dataclasses.replace(before, config=config), ledger)
    assert [t for t in after.trials if t.stage == "search"] == []


def test_suggestions_are_valid_in_a_search_trial_with_its_overrides(ledger: Ledger) -> None:
    config = {**SPACE.config, "train": {"batch": 12, "accumulate": Integer(1, 4)}}
    config["train"] |= {"steps": 6, "validate_every": 2}
    search = Search(trials=12, overrides={"train.batch": 4})
    space = dataclasses.replace(SPACE, config=config, arms={"default": {}}, search=search)
    made = make_plan("s", space, ledger)
    (searching,) = unfinished_searches(made, SearchHistory(made, ledger))
    asked = [searching.ask(f"t{i}") for i in range(12)]
    assert {values["train.accumulate"] for values in asked if values is not None} <= {1, 2, 4}


def test_an_interrupted_round_goes_on_where_it_was(ledger: Ledger) -> None:
    first = drive(ledger, most=1)
    second = drive(ledger)
    assert not set(first) & set(second)
    assert make_plan("s", SPACE, ledger).complete


def test_an_error_inside_tunes_hooks_is_remembered(ledger: Ledger) -> None:
    run = started(make_plan("s", SPACE, ledger), [], ledger)
    with pytest.raises(OSError, match="away"), run.keeping_error():
        raise OSError("the store is away")
    assert str(run.error) == "the store is away"


RANGES = {"t_high": Uniform(0.5, 1.0), "schedule": Choice(["linear", "cosine"])}
SEARCHED = dataclasses.replace(
    SPACE, arms={"searched": {"mode": {"diffusion": RANGES}}}, search=Search(trials=10)
)


def test_a_search_asks_the_same_whether_or_not_it_is_interrupted(tmp_path: Path) -> None:
    whole, again, struck = (Ledger(Store(str(tmp_path / name))) for name in "abc")
    asked = drive(whole, space=SEARCHED)
    assert len(set(asked)) == 10
    assert drive(again, space=SEARCHED) == asked
    parts = [drive(struck, most, SEARCHED) for most in (1, 4, 2, 9)]
    assert [digest for part in parts for digest in part] == asked


def test_a_suggestion_in_flight_when_struck_comes_first(tmp_path: Path) -> None:
    whole, struck = (Ledger(Store(str(tmp_path / name))) for name in "ab")
    asked = drive(whole, space=SEARCHED)
    assert drive(struck, 5, SEARCHED) == asked[:5]
    trial = begun(struck, SEARCHED).next("lost")
    assert trial is not None
    assert trial.digest == asked[5]
    assert drive(struck, space=SEARCHED) == asked[5:]


def test_no_trial_is_started_once_the_budget_is_spent_in_however_many_sweeps(
    ledger: Ledger,
) -> None:
    frugal = dataclasses.replace(SEARCHED, budget=Budget(trials=3))
    assert len(drive(ledger, 2, frugal)) == 2
    assert len(drive(ledger, space=frugal)) == 1
    assert drive(ledger, space=frugal) == []
    run = begun(ledger, frugal)
    assert run.context.budget.exhausted() == "3 of 3 trials"
    raised = dataclasses.replace(frugal, budget=Budget(trials=5))
    assert len(drive(ledger, space=raised)) == 2


def test_trials_that_run_count_before_they_are_committed(ledger: Ledger) -> None:
    run = begun(ledger, dataclasses.replace(SEARCHED, budget=Budget(device_hours=1e-12)))
    assert run.next("one") is not None
    assert run.next("two") is None
    assert "device-hours" in (run.context.budget.exhausted() or "")


GOOD, BAD = [0.7, 0.8, 0.9, 0.8, 0.7], [0.3, 0.2, 0.4, 0.3, 0.1]


def report(cases: list[float], step: int = 2) -> dict[str, Any]:
    mean = sum(cases) / len(cases)
    return {"step": step, "steps": 6, "score": mean, "best": mean, "case_scores": cases}


def test_what_is_worse_case_by_case_is_stopped_after_a_restart_too(ledger: Ledger) -> None:
    search = Search(trials=10, rungs=(2, 4), pruner="wilcoxon")
    space = dataclasses.replace(SEARCHED, search=search)
    run = begun(ledger, space)
    first, second = run.next("a"), run.next("b")
    assert first is not None
    assert second is not None
    assert run.reported("a", report(GOOD))
    assert not run.reported("b", report(BAD))
    run.ended("b", {}, None)
    assert ledger.commits()[second.digest].outcome == "pruned"
    steps = [
        {"step": step, "score_sum": 3.9, "score_count": 5, "case_scores": GOOD} for step in (2, 6)
    ]
    row = {"outcome": "finished", "score": 0.78}
    ledger.commit(first.digest, "finished", {"trials": [row], "steps": steps})

    run = begun(ledger, space)
    assert run.next("c") is not None
    assert run.reported("c", report(BAD, step=1))  # no rung
    assert not run.reported("c", report(BAD))
    run = begun(ledger, space)
    states = [t.state.name for t in run.queue.searches[0].study.trials]
    assert sorted(states) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_a_nan_score_is_no_score(ledger: Ledger) -> None:
    run = begun(ledger, SEARCHED)
    assert run.next("a") is not None
    assert run.reported("a", {"step": 2, "steps": 6, "score": float("nan")})
    run.ended("a", {"outcome": "diverged"}, None)
    assert [t.state.name for t in run.queue.searches[0].study.trials] == ["FAIL"]


def test_what_another_study_committed_counts_as_found_and_costs_nothing(ledger: Ledger) -> None:
    drive(ledger, space=SEARCHED)
    frugal = dataclasses.replace(SEARCHED, budget=Budget(trials=1))
    made = make_plan("t", frugal, ledger)
    run = started(made, [], ledger)
    (search,) = run.queue.searches
    assert run.next("a") is None
    assert [t.state.name for t in search.study.trials] == ["COMPLETE"] * 10
    found = make_plan("t", frugal, ledger)
    assert [t.state for t in found.trials if t.stage == "search"] == ["done"] * 10
    assert spent(found, ledger).trials == 0


READINGS = Space(
    question="?",
    config=SMALL,
    arms={
        **{
            f"steps_{steps}": {"mode": {"diffusion": {"sampler": {"ddim": {"steps": steps}}}}}
            for steps in (1, 2, 3)
        },
        "other": {"mode": "feedforward"},
        "pair": {"mode": {"deep_ensemble": {"networks": 2}}},
    },
)


FACTS = DataFacts(task="t", classes=[], channels=1, types=[], mean=[], std=[], content_hash="")


def test_readings_wait_for_the_training_that_runs_and_others_do_not(ledger: Ledger) -> None:
    made = make_plan("s", READINGS, ledger)
    run = started(made, readings_first(made.pending, made.kept), ledger)
    handed = [run.next("a"), run.next("b"), run.next("c")]
    assert [t and t.cell.arm for t in handed] == ["steps_1", "other", None]
    assert not run.exhausted
    run.ended("a", {"outcome": "failed", "reason": "x"}, None)
    retried = run.next("d")  # the weights do not exist: another reading trains them
    assert retried is not None
    assert retried.cell.arm == "steps_2"
    assert run.next("e") is None
    (training,) = retried.config.training_digests
    kept = Trained(training, {}, {}, FACTS, {}, hashlib.sha256(b"x").hexdigest(), b"x")
    ledger.weights.keep(kept, Retention())
    run.ended("d", {"outcome": "finished"}, None)
    last, waiting = run.next("f"), run.next("g")
    assert last is not None
    assert last.cell.arm == "steps_3"
    assert waiting is None  # the pair contains the twin that runs
    run.ended("b", {"outcome": "finished"}, None)
    pair = run.next("h")
    assert pair is not None
    assert pair.cell.arm == "pair"


def test_a_search_over_readings_waits_for_its_weights_without_further_suggestions(
    ledger: Ledger,
) -> None:
    sampler = {"diffusion": {"sampler": {"ddim": {"steps": Integer(1, 50)}}}}
    space = dataclasses.replace(SPACE, arms={"searched": {"mode": sampler}}, search=Search(4))
    run = begun(ledger, space)
    first = run.next("a")
    assert first is not None
    assert [run.next(name) for name in "bcd"] == [None, None, None]
    assert not run.exhausted
    assert len(ledger.studies.declared("s")) == 2
    run.ended("a", {"outcome": "finished", "final_score": 0.5}, None)
    second = run.next("e")
    assert second is not None
    assert second.values != first.values


TWIN: dict[str, Any] = {"mode": "feedforward"}
MIXED = Space(
    question="?",
    config=SMALL,
    arms={
        "narrow": TWIN,
        "wide": {**TWIN, "train.learning_rate": 2e-3},
        "elastic": {**TWIN, "train.learning_rate": 3e-3},
        "searched": {"mode": {"diffusion": RANGES}},
    },
    workers={"wide": 3, "elastic": (1, 4), "searched": 2},
    search=Search(trials=2, workers=2),
    replicates=2,
)


def test_wide_trials_start_first_and_narrow_ones_use_what_is_left(ledger: Ledger) -> None:
    run = begun(ledger, MIXED)
    started = [run.next(str(place), slots=4) for place in range(3)]
    assert [t.cell.name if t else None for t in started] == ["wide", "narrow", None]
    assert not run.exhausted, "others wait, and do not fit"
    run.ended("0", {"outcome": "finished"}, None)
    assert run.next("3", slots=4) is not None
    assert [r.slots for r in run.running.values()] == [1, 3]


def test_a_search_trial_has_the_workers_of_its_search(ledger: Ledger) -> None:
    run = begun(
        ledger, dataclasses.replace(MIXED, arms={"searched": MIXED.arms["searched"]}, workers=1)
    )
    trial = run.next("a", slots=4)
    assert trial is not None
    assert (trial.stage, trial.workers) == ("search", 2)
    assert run.next("b", slots=3) is None, "only one slot is left"


def test_an_elastic_trial_counts_as_all_that_was_free_until_it_reports_its_workers(
    ledger: Ledger,
) -> None:
    arms = {name: MIXED.arms[name] for name in ("narrow", "elastic")}
    space = dataclasses.replace(MIXED, arms=arms, search=None, workers={"elastic": (2, 4)})
    run = begun(ledger, space)
    first = run.next("a", slots=3)
    assert first is not None
    assert first.workers == (2, 4)
    assert run.running["a"].slots == 3
    assert run.next("b", slots=3) is None
    environment = {"world_size": 2, "device": "cpu"}
    run.reported("a", {"step": 1, "steps": 6, "score": None, "ran": environment})
    second = run.next("b", slots=3)
    assert second is not None
    assert second.cell.name == "narrow"


def test_a_trial_that_others_started_before_it_reserves_its_slots(ledger: Ledger) -> None:
    """Its expected end is extrapolated from its progress."""
    arms = {name: MIXED.arms[name] for name in ("narrow", "wide")}
    run = begun(ledger, dataclasses.replace(MIXED, arms=arms, search=None, workers={"wide": 3}))
    assert run.next("a", slots=2) is not None  # the wide ones cannot run on two slots
    running = run.running["a"]
    running.share, running.began = 0.5, running.began - 100
    assert running.until(1e9) == pytest.approx(running.began + 200, abs=1)

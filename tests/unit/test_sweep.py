"""The order in which a sweep hands out trials, driven without Ray."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Studies
from orchestrator.ledger.weights import Retention
from orchestrator.planning.plan import make_plan
from orchestrator.planning.trainings import readings_first
from orchestrator.sweep.budget import spent
from orchestrator.sweep.declarations import declare_study
from search_spaces import Budget, Integer, Search, Space
from tests.conftest import SMALL
from tests.rounds import RANGES, SEARCHED, SPACE, begun, drive, started
from trainables.training.trained import DataFacts, Trained


def test_an_error_inside_tunes_hooks_is_remembered(ledger: Ledger) -> None:
    run = started(make_plan("s", SPACE, ledger), [], ledger)
    with pytest.raises(OSError, match="away"), run.keeping_error():
        raise OSError("the store is away")
    assert str(run.error) == "the store is away"


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


def test_an_earlier_revision_is_current_until_the_next_one_is_declared(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else gc could delete the weights of its trials after a kill in between."""
    before = dataclasses.replace(SPACE, arms={"a": {}, "twin": {"mode": "feedforward"}})
    declare_study(make_plan("s", before, ledger), ledger)
    current = ledger.studies.current("s")
    assert current

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    edited = make_plan("s", dataclasses.replace(before, question="Another?"), ledger)
    with monkeypatch.context() as patch:
        patch.setattr(Studies, "declare_all", killed)
        with pytest.raises(KeyboardInterrupt):
            declare_study(edited, ledger)
    assert ledger.studies.current("s") == current
    declare_study(edited, ledger)
    assert {slot.revision for slot in ledger.studies.current("s")} == {edited.revision}

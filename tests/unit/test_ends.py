"""What a sweep records of trials that it ends itself, what they cost, and who may try again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import Resources
from orchestrator.commands.sweep import exit_code
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.planning import trial_state
from orchestrator.planning.plan import make_plan
from orchestrator.sweep import budget, driver, timeouts, watchdog
from orchestrator.sweep.budget import BudgetMeter
from orchestrator.sweep.decisions import MOST_LOST, Failure, Retries
from orchestrator.sweep.driver import SweepError, check_feasible
from orchestrator.sweep.retries import RetryState
from orchestrator.sweep.round import Round
from orchestrator.sweep.watchdog import Watchdog
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Budget, Search, Space
from tests.conftest import SMALL
from tests.unit.test_plan import finish, space, suggest
from tests.unit.test_sweep import BAD, GOOD, SEARCHED, begun, report
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt

H100 = {"world_size": 2, "device": "NVIDIA H100", "host": "far", "threads": 3}
ONE = Space("?", SMALL, arms={"a": {"mode": "feedforward"}})


def test_rows_of_what_the_sweep_ended_say_what_it_ran_on(ledger: Ledger) -> None:
    wilcoxon = Search(trials=10, rungs=(2, 4), pruner="wilcoxon")
    run = begun(ledger, dataclasses.replace(SEARCHED, search=wilcoxon))
    for name, cases, goes_on in (("a", GOOD, True), ("b", BAD, False)):
        trial = run.next(name)
        assert trial is not None
        kept = attempt(trial.config, LedgerSink(ledger, ""), WorkerContext())
        next(progress for progress in kept if progress.score is not None)
        kept.close()
        assert run.reported(name, {**report(cases), "ran": H100}) == goes_on
        run.ended(name, {}, None if not goes_on else Failure("the worker process died"))
        (row,) = Snapshot(ledger.store).table("trials", [trial.digest]).to_pylist()
        assert row["outcome"] == ("failed" if goes_on else "pruned")
        assert {key: row[key] for key in H100} == H100
        assert row["device_seconds"] == 2 * row["train_seconds"] > 0


def test_money_is_priced_by_the_device_that_the_trial_runs_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(budget.time, "monotonic", lambda: now)
    rates = {"cpu": 1.0, "A100": 2.0, "H100": 3.0}
    made = make_plan("s", dataclasses.replace(ONE, budget=Budget(money=5.5, rates=rates)), ledger)
    purse = BudgetMeter(made, ledger)
    for name, device in (("a", "NVIDIA A100"), ("b", "NVIDIA H100")):
        purse.started(name, 1)
        purse.runs_on(name, device)
    now = 3600.0
    assert purse.exhausted() is None
    purse.ended("a")
    now = 2 * 3600.0
    assert purse.exhausted() == "8 of 5.5 money"


def resumed(run: Round, name: str, score: float) -> None:
    """A trial goes on after both rungs, where it had been before."""
    assert run.next(name) is not None
    earlier = [{"step": step, "score": score, "case_scores": []} for step in (2, 4)]
    late = {"step": 5, "steps": 6, "score": None, "earlier": earlier}
    assert run.reported(name, late)


def test_a_trial_that_is_resumed_past_a_rung_counts_there(ledger: Ledger) -> None:
    run = begun(ledger, dataclasses.replace(SEARCHED, search=Search(trials=10, rungs=(2, 4))))
    resumed(run, "a", 0.8)
    assert run.next("b") is not None
    assert run.reported("b", report([0.5]))  # one other trial judges nobody
    resumed(run, "c", 0.9)
    assert run.next("d") is not None
    assert not run.reported("d", report([0.1]))


def test_want_of_memory_is_remembered_by_the_next_driver(ledger: Ledger) -> None:
    (trial,) = make_plan("s", ONE, ledger).pending
    for reason in ("OutOfMemoryError: CUDA out of memory", "ValueError: no such mask"):
        row = {"outcome": "failed", "reason": reason}
        ledger.commit(trial.digest, "failed", {"trials": [row]})
    tries = RetryState()
    tries.recall(make_plan("s", ONE, ledger), ledger)
    assert tries.of(trial.digest).microbatch_factor == 2
    assert tries.of("another").microbatch_factor == 1
    again = RetryState(forgiven=ledger.failed_attempts.counts())
    again.recall(make_plan("s", ONE, ledger), ledger)
    assert again.of(trial.digest).microbatch_factor == 1


def test_want_of_memory_in_another_study_counts_for_a_suggestion_too(ledger: Ledger) -> None:
    run = begun(ledger, SEARCHED)
    trial = run.next("a")
    assert trial is not None
    row = {"outcome": "failed", "reason": "OutOfMemoryError: CUDA out of memory"}
    ledger.commit(trial.digest, "failed", {"trials": [row]})
    run.ended("a", {}, Failure("its node went away", node_lost=True))
    run.retries.recall(make_plan("s", SEARCHED, ledger), ledger)
    assert run.retries.of(trial.digest) == Retries(losses=1, failures=1, microbatch_factor=2)


def test_a_trial_that_lost_its_node_often_runs_in_the_next_round(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes may be stable again by then; if they are not, the losses are no progress."""
    run = begun(ledger, ONE)
    plan, rounds = make_plan("s", ONE, ledger), list[Round]()
    monkeypatch.setattr(driver, "run_tuner", rounds.append)
    for loss in range(MOST_LOST):
        assert run.next(str(loss)) is not None
        run.ended(str(loss), {}, Failure("its node went away", node_lost=True))
    assert run.next("too many") is None
    driver._round(plan, run.context)
    assert [t.digest for t, *_ in rounds[0].queue.ready] == [t.digest for t in plan.pending]
    run.retries.update("another", Retries(losses=MOST_LOST + 1))
    assert run.retries.losses == 2 * MOST_LOST


def test_what_was_given_up_can_be_tried_again(ledger: Ledger) -> None:
    (trial,) = make_plan("s", ONE, ledger).pending
    for _ in range(trial_state.MOST_FAILURES):
        finish(ledger, trial.digest, "failed")
    given_up = make_plan("s", ONE, ledger)
    assert not given_up.pending
    assert exit_code(given_up) == 1
    forgiven = ledger.failed_attempts.counts()
    for _ in range(trial_state.MOST_FAILURES):
        assert [t.digest for t in make_plan("s", ONE, ledger, forgiven).pending] == [trial.digest]
        finish(ledger, trial.digest, "failed")
    assert not make_plan("s", ONE, ledger, forgiven).pending


def test_a_searched_trial_that_diverged_is_no_failure_of_the_study(ledger: Ledger) -> None:
    made = make_plan("s", space(), ledger)
    finish(ledger, suggest(ledger, made, 0, "linear"), "diverged")
    finish(ledger, suggest(ledger, made, 1, "sigmoid"))
    for trial in make_plan("s", space(), ledger).pending:
        finish(ledger, trial.digest)
    assert exit_code(make_plan("s", space(), ledger)) == 0
    more = space(replicates=3)
    for trial in make_plan("s", more, ledger).pending:
        finish(ledger, trial.digest, "diverged")
    assert exit_code(make_plan("s", more, ledger)) == 1


@pytest.mark.parametrize(
    ("changes", "nodes", "message"),
    [
        ({"cpus": 3}, ((2, 0), (2, 0)), "1 x 3 CPU .* 4 CPUs .* largest node 2 CPUs"),
        ({"gpus": 2}, ((8, 1), (2, 1)), "1 x 1 CPU and 2 GPU .* largest node 8 CPUs and 1 GPUs"),
        ({"cpus": 2}, ((2, 0), (2, 0)), None),
    ],
)
def test_a_worker_that_fits_no_node_is_refused_at_once(
    ledger: Ledger,
    changes: dict[str, Any],
    nodes: tuple[tuple[float, float], ...],
    message: str | None,
) -> None:
    made = make_plan("s", dataclasses.replace(ONE, **changes), ledger)
    cpus, gpus = (int(sum(n)) for n in zip(*nodes, strict=True))
    if message is None:
        check_feasible(made, Resources(cpus, gpus, nodes))
        return
    with pytest.raises(SweepError, match=message):
        check_feasible(made, Resources(cpus, gpus, nodes))


def test_a_trial_that_never_has_a_lease_is_ended_too(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now, killed = begun(ledger, SEARCHED), 0.0, list[str]()
    assert run.next("a") is not None
    monkeypatch.setattr(watchdog.ray, "kill", killed.append)
    watch = Watchdog(run, clock=lambda: now)
    watch.note_activity("a")
    trial: Any = SimpleNamespace(trial_id="a", temporary_state=SimpleNamespace(ray_actor="actor"))
    look: Callable[[float], None] = lambda at: watch._kill_silent([trial], at)  # noqa: E731
    look(timeouts.STARTING_SECONDS - 1)
    assert killed == []
    look(max(timeouts.STARTING_SECONDS, timeouts.SILENCE_SECONDS) + 1)
    assert killed == ["actor"]
    assert "no sign of life" in (run.running["a"].killed or "")


def test_a_trial_whose_lease_changes_lives_whatever_its_clock_says(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now, killed = begun(ledger, SEARCHED), 0.0, list[str]()
    assert run.next("a") is not None
    monkeypatch.setattr(watchdog.ray, "kill", killed.append)
    watch = Watchdog(run, clock=lambda: now)
    watch.note_activity("a")
    trial: Any = SimpleNamespace(trial_id="a", temporary_state=SimpleNamespace(ray_actor="actor"))
    key = ledger.leases.key(run.running["a"].trial.digest)
    ledger.leases.acquire(run.running["a"].trial.digest)
    lease = json.loads(ledger.store.get(key)) | {"machine": "another"}
    quiet = run.context.silence
    for step in range(1, 30):  # the worker's clock is a day behind
        now = step * quiet / 4
        ledger.store.put(key, json.dumps(lease | {"at": now - 86400.0}).encode())
        watch._kill_silent([trial], now)
    assert killed == []
    silent = now
    while not killed:  # the lease says that it was renewed in the future, and stays as it is
        now += quiet / 100
        ledger.store.put(key, json.dumps(lease | {"at": 1e10}).encode())
        watch._kill_silent([trial], now)
        assert now < silent + 2 * quiet

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import timed_step
from orchestrator.planning.cost import SETUP_SECONDS, Estimator, TrialKey, remaining
from orchestrator.planning.plan import Plan, Trial, make_plan
from orchestrator.planning.resources import workers_of
from orchestrator.sweep.budget import Spent, own_digests, spent
from orchestrator.sweep.declarations import declare
from search_spaces import Budget, Choice, Each, Search, Space, Uniform
from search_spaces._workers import most
from tests.conftest import ROOT, SMALL
from tests.spaces import MODEL
from trainables import batches
from trainables.config import Config
from trainables.data import prepared
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import Outcome

ARMS: dict[str, Any] = {
    "plain": {"mode": "feedforward"},
    "searched": {"mode": {"diffusion": {"schedule": Choice(["linear", "cosine", "sigmoid"])}}},
}


def space(replicates: int = 2, trials: int = 2, **changes: Any) -> Space:
    search = Search(trials=trials, overrides={"train.steps": 2})
    settings: dict[str, Any] = {"config": SMALL, "arms": ARMS, **changes}
    return Space(question="?", replicates=replicates, search=search, **settings)


def finish(ledger: Ledger, digest: str, outcome: Outcome = "finished", score: float = 0.5) -> None:
    ledger.commit(digest, outcome, {"trials": [{"outcome": outcome, "score": score}]})


def suggest(ledger: Ledger, made: Plan, index: int, schedule: str) -> str:
    """Declare a search trial as the sweep does."""
    cell = next(c for c in made.cells if c.searched)
    assert made.space.search is not None
    values = {"mode.diffusion.schedule": schedule}
    config = cell.config(values, made.space.search.overrides, 0)
    about = {"arm": cell.arm, "config": config.plain(), "values": values}
    place = Declared(made.study, made.revision, cell.name, "search", index, config.digest())
    ledger.studies.declare(place, about)
    return config.digest()


def test_a_new_study_has_everything_before_it(ledger: Ledger) -> None:
    made = make_plan("s", space(), ledger)
    assert [t.label for t in made.pending] == ["plain final 0", "plain final 1"]
    assert made.suggestions_left == {"searched": 2}
    assert made.finals_waiting == {"searched": 2}
    assert not made.complete
    assert ledger.store.list("studies/") == []


def test_seeds_pair_across_arms(ledger: Ledger) -> None:
    arms = {"a": {"mode": "feedforward"}, "b": {"mode": "diffusion"}}
    made = make_plan("s", space(arms=arms), ledger)
    seeds = {c.name: [t.config.seed for t in made.trials if t.cell is c] for c in made.cells}
    assert seeds == {"a": [0, 1], "b": [0, 1]}


def test_the_best_of_a_finished_search_is_trained_in_full(ledger: Ledger) -> None:
    made = make_plan("s", space(), ledger)
    worse, better = (suggest(ledger, made, i, s) for i, s in enumerate(("linear", "sigmoid")))
    finish(ledger, worse, score=0.4)
    half = make_plan("s", space(), ledger)
    assert half.finals_waiting == {"searched": 2}
    finish(ledger, better, score=0.6)
    finals = [t for t in make_plan("s", space(), ledger).pending if t.cell.searched]
    assert [t.config.mode.schedule.name for t in finals] == ["sigmoid"] * 2  # type: ignore[attr-defined]
    assert {t.config.train.steps for t in finals} == {6}


def test_a_search_where_everything_failed_is_named_not_waited_for(ledger: Ledger) -> None:
    made = make_plan("s", space(), ledger)
    for i, schedule in enumerate(("linear", "cosine")):
        finish(ledger, suggest(ledger, made, i, schedule), "diverged")
    made = make_plan("s", space(), ledger)
    assert made.without_winner == ["searched"]
    assert made.finals_waiting == {}


def test_what_another_study_committed_is_not_trained_again(ledger: Ledger) -> None:
    first = make_plan("one", space(), ledger)
    finish(ledger, first.pending[0].digest)
    second = make_plan("two", space(), ledger)
    assert [t.label for t in second.pending] == ["plain final 1"]


def test_a_diverged_config_is_done_and_a_failed_one_is_tried_three_times(ledger: Ledger) -> None:
    one, two = make_plan("s", space(), ledger).pending
    finish(ledger, one.digest, "diverged")
    for expected in ("pending", "pending", "pending", "given up"):
        states = {t.digest: t.state for t in make_plan("s", space(), ledger).trials}
        assert states[one.digest] == "done"
        assert states[two.digest] == expected
        finish(ledger, two.digest, "failed")


def test_a_changed_default_runs_the_search_again_and_keeps_the_old_rows(ledger: Ledger) -> None:
    made = make_plan("s", space(), ledger)
    finish(ledger, suggest(ledger, made, 0, "linear"))
    changed = make_plan("s", space(config={**SMALL, "probe": {"bins": 2}}), ledger)
    assert changed.suggestions_left == {"searched": 2}
    assert make_plan("s", space(), ledger).suggestions_left == {"searched": 1}


def test_more_seeds_add_only_the_new_ones(ledger: Ledger) -> None:
    for trial in make_plan("s", space(), ledger).pending:
        finish(ledger, trial.digest)
    assert [t.index for t in make_plan("s", space(replicates=3), ledger).pending] == [2]


def test_a_pruned_search_trial_does_not_stand_in_for_the_same_config_as_final(
    ledger: Ledger,
) -> None:
    (trial, _) = make_plan("s", space(), ledger).pending
    finish(ledger, trial.digest, "pruned")
    assert trial.digest in {t.digest for t in make_plan("s", space(), ledger).pending}


def test_a_run_in_flight_is_told_apart(ledger: Ledger) -> None:
    (trial, _) = make_plan("s", space(), ledger).pending
    ledger.leases.acquire(trial.digest)
    states = {t.digest: t.state for t in make_plan("s", space(), ledger).trials}
    assert states[trial.digest] == "running"


def test_a_changed_space_is_a_new_revision_and_an_unchanged_one_is_not(ledger: Ledger) -> None:
    first = make_plan("s", space(), ledger).revision
    assert make_plan("s", space(), ledger).revision == first
    assert make_plan("s", space(replicates=3), ledger).revision != first
    longer = {**SMALL, "train": {**SMALL["train"], "steps": 8}}  # type: ignore[dict-item]
    assert make_plan("s", space(config=longer), ledger).revision != first


def test_a_narrowed_range_forgets_the_suggestions_outside_it(ledger: Ledger) -> None:
    def searching(low: float) -> Space:
        arms = {"searched": {"mode": {"diffusion": {"t_high": Uniform(low, 1.0)}}}}
        return space(arms=arms)

    made = make_plan("s", searching(0.5), ledger)
    cell = made.cells[0]
    for index, t_high in enumerate((0.6, 0.95)):
        values = {"mode.diffusion.t_high": t_high}
        config = cell.config(values, {"train.steps": 2}, 0)
        place = Declared("s", made.revision, cell.name, "search", index, config.digest())
        ledger.studies.declare(place, {"arm": cell.arm, "config": config.plain(), "values": values})
        finish(ledger, config.digest())
    assert make_plan("s", searching(0.5), ledger).suggestions_left == {}
    narrowed = make_plan("s", searching(0.9), ledger)
    assert narrowed.suggestions_left == {"searched": 1}
    assert [t.values["mode.diffusion.t_high"] for t in narrowed.trials] == [0.95]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {**SMALL, "seed": 5}}, "seed is not set in a config; use replicates"),
        ({"workers": 9}, "train.batch=4 must be at least 9, the number of workers"),
        (
            {
                "workers": (1, 3),
                "config": {**SMALL, "train": {"steps": 6, "batch": 4, "accumulate": 2}},
            },
            r"train.accumulate=2 times the number of workers, it is not for 3 \(Space.workers",
        ),
        (
            {"arms": {"a": {"mode": Each({"diffusion": {"t_high": Each(0.9, 1.0)}})}}},
            "Each at mode.diffusion.t_high is inside another parameter",
        ),
    ],
)
def test_what_no_config_can_be_is_refused(
    ledger: Ledger, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan("s", space(**changes), ledger)


def test_workers_hold_for_all_trials_and_an_arm_and_a_search_may_have_their_own(
    ledger: Ledger,
) -> None:
    """A baseline makes no gradient steps that several workers could share."""
    baseline = {"model": "intensity", "mode": "feedforward", "train.steps": 0}
    arms = {**ARMS, "baseline": baseline}

    def workers(**changes: Any) -> list[Any]:
        wanted = space(arms=arms, replicates=1, **changes)
        made = make_plan("s", wanted, ledger)
        cells = {cell.name: cell for cell in made.cells}
        stages = ("plain", "final"), ("searched", "search"), ("searched", "final")
        stated = [workers_of(wanted, cells[name], stage) for name, stage in stages]
        planned = {t.cell.name: t.workers for t in made.trials}
        assert planned == {"plain": stated[0], "baseline": 1}
        left = remaining(made, Estimator(ledger))
        assert [left[TrialKey(*stage, 0)].workers for stage in stages] == [most(n) for n in stated]
        return stated

    assert workers() == [1, 1, 1]
    assert workers(workers=2) == [2, 2, 2]
    assert workers(workers={"searched": (1, 2)}) == [1, (1, 2), (1, 2)]
    with pytest.raises(ValueError, match=r"Space.workers\['baseline'\] must be 1: several workers"):
        workers(workers={"baseline": 2})


def test_the_trials_that_are_left_have_the_indices_that_they_will_get(ledger: Ledger) -> None:
    """Those of an earlier revision are taken; the display takes each off when it ends."""
    earlier = Declared("s", "r0", "searched", "search", 7, "0" * 16)
    ledger.studies.declare(earlier, {"arm": "searched", "config": {}, "values": {}})
    made = make_plan("s", space(arms=ARMS, replicates=1), ledger)
    left = remaining(made, Estimator(ledger))
    count = made.suggestions_left["searched"]
    assert sorted(at for _, stage, at in left if stage == "search") == list(range(8, 8 + count))


def test_a_rung_between_validations_is_refused(ledger: Ledger) -> None:
    made = Space(question="?", config=SMALL, arms=ARMS, search=Search(trials=2, rungs=(3,)))
    with pytest.raises(ValueError, match="rung 3 must be a multiple of train.validate_every=2"):
        make_plan("s", made, ledger)


def test_a_budget_counts_what_the_study_trained_itself(ledger: Ledger) -> None:
    budget = Budget(device_hours=1.0, rates={"cpu": 2.0})
    arms = {"a": {"mode": "feedforward"}, "b": {"mode": "image_only"}}
    wanted = Space(question="?", config=SMALL, arms=arms, budget=budget)
    first, second = make_plan("one", wanted, ledger).pending

    def train(trial: Trial) -> None:
        row = {"outcome": "finished", "score": 0.5, "device_seconds": 900.0, "device": "cpu (x)"}
        ledger.commit(trial.digest, "finished", {"trials": [row]})

    train(first)
    declare(make_plan("one", wanted, ledger), ledger)
    train(second)
    made = make_plan("one", wanted, ledger)
    assert own_digests(made, ledger) == {second.digest}  # the first was there before
    assert spent(made, ledger) == Spent(trials=1, device_hours=0.25, money=0.5)
    again = dataclasses.replace(wanted, config={**SMALL, "test": {"overlap": 0.25}})
    assert spent(make_plan("one", again, ledger), ledger).trials == 1  # over all revisions


def test_a_budget_counts_what_only_failed_before(ledger: Ledger) -> None:
    arms = {"a": {"mode": "feedforward"}, "b": {"mode": "image_only"}}
    wanted = Space(question="?", config=SMALL, arms=arms, budget=Budget(trials=2))
    failed, pruned = make_plan("other", wanted, ledger).pending
    finish(ledger, failed.digest, "failed")
    finish(ledger, pruned.digest, "pruned")
    declare(make_plan("s", wanted, ledger), ledger)
    assert own_digests(make_plan("s", wanted, ledger), ledger) == {failed.digest, pruned.digest}


def test_replicates_share_seeds_and_splits_across_arms_and_grids(ledger: Ledger) -> None:
    made = make_plan(
        "s", space(arms={"a": {"mode": "feedforward"}, "b": {"mode": "diffusion"}}), ledger
    )
    by_seed: dict[int, list[Any]] = {}
    for t in made.trials:
        batch = batches.draw(Run(t.config, WorkerContext(), prepared(t.config)), 3)
        by_seed.setdefault(t.index, []).append((batch.images_BCHW, batch.labels_BHW))
    assert [len(arms) for arms in by_seed.values()] == [2, 2]
    for one, other in by_seed.values():
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(by_seed[0][0][0], by_seed[1][0][0])


def test_a_model_that_ends_its_process_is_planned_all_the_same(
    small: Callable[..., Config], ledger: Ledger
) -> None:
    paced = Path(__file__).parent.parent / "faults" / "paced.py"
    config = small(model={str(paced): {"trouble": "dies"}}, mode="feedforward")
    assert Estimator(ledger).cost(config).source == "cannot be timed here"


@pytest.mark.slow
def test_planning_a_model_of_the_users_own_executes_the_script_once(
    tmp_path: Path,
) -> None:
    """A step is timed in another process, which Python would give the user's script to execute."""
    (tmp_path / "net.py").write_text(MODEL)
    config = {**SMALL, "model": "./net.py", "mode": "feedforward"}
    imports = "from orchestrator.notebook import Study\nfrom search_spaces import Space\n"
    (tmp_path / "script.py").write_text(
        f"print('once')\n{imports}print(Study(Space('?', {config!r}, name='s')).plan())\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("once") == 1
    assert "1 to run" in done.stdout
    assert done.stderr == ""


def test_a_model_that_hangs_is_planned_without_an_estimate_and_named(
    small: Callable[..., Config],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(timed_step, "TIMING_SECONDS", 0.1)
    paced = Path(__file__).parent.parent / "faults" / "paced.py"
    config = small(model={str(paced): {"seconds": 1e6}}, mode="feedforward")
    assert Estimator(ledger).cost(config).source == "cannot be timed here"
    (line,) = capsys.readouterr().err.splitlines()
    assert "no step of model paced within" in line
    assert multiprocessing.active_children() == []


def test_a_cost_is_that_of_trials_like_it_with_its_spread(ledger: Ledger) -> None:
    trial = make_plan("s", space(arms={"a": {"mode": "feedforward"}}), ledger).pending[0]
    timed = Estimator(ledger).cost(trial.config)
    assert timed.low < timed.device_seconds < timed.high
    seconds = [float(n) for n in range(1, 22)]
    for i, each in enumerate(seconds):
        about = {"task": "synthetic", "model": "ensemdiff", "mode": "feedforward", "steps": 3}
        row = {**about, "outcome": "finished", "device_seconds": each, "device": "H100"}
        row["config"] = json.dumps(trial.config.plain())
        ledger.commit(f"{i:016d}", "finished", {"trials": [row]})
    cost = Estimator(ledger).cost(trial.config)  # of 6 steps
    twice = [2 * each for each in (seconds[1], statistics.median(seconds), seconds[19])]
    assert [cost.low, cost.device_seconds, cost.high] == pytest.approx(
        [SETUP_SECONDS + each for each in twice]
    )
    assert cost.device == "H100"


def test_a_suggestion_that_a_later_constraint_forbids_is_no_part_of_the_search(
    ledger: Ledger,
) -> None:
    arms = {"searched": {"mode": {"diffusion": {"t_low": Uniform(0.0, 0.4)}}}}

    def asked(*constraints: str) -> Plan:
        return make_plan("s", space(arms=arms, constraints=constraints), ledger)

    made = asked()
    (cell,) = made.cells
    assert made.space.search is not None
    for index, t_low in enumerate((0.1, 0.3)):
        values = {"mode.diffusion.t_low": t_low}
        config = cell.config(values, made.space.search.overrides, 0)
        about = {"arm": cell.arm, "config": config.plain(), "values": values}
        place = Declared("s", made.revision, cell.name, "search", index, config.digest())
        ledger.studies.declare(place, about)
    assert [len(made.trials) for made in (asked(), asked("mode.diffusion.t_low <= 0.2"))] == [2, 1]
    assert asked("mode.diffusion.t_low <= 0.2").suggestions_left == {"searched": 1}

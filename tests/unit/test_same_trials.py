"""Arms that want the same configs: each runs once, and a user is told that they are equal."""

from __future__ import annotations

import io

from rich.console import Console

from cluster import Resources
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.cost import Estimator, TrialKey, remaining
from orchestrator.planning.plan import make_plan
from orchestrator.planning.same_trials import same_trials
from orchestrator.planning.trainings import networks_to_train
from orchestrator.sweep.progress import ProgressDisplay
from search_spaces import Choice, Search, Space
from tests.conftest import SMALL

EQUAL = Space(
    question="?",
    config={**SMALL, "mode": "feedforward"},
    arms={"a": {}, "b": {"train.steps": SMALL["train"]["steps"]}, "c": {"train.batch": 1}},
)


def test_cells_of_the_same_configs_are_named_in_one_warning(ledger: Ledger) -> None:
    (line,) = same_trials(make_plan("s", EQUAL, ledger))
    assert line.startswith("warning: a, b: these cells have the same final configs")
    different = Space(question="?", config=EQUAL.config, arms={"a": {}, "c": {"train.batch": 1}})
    assert list(same_trials(make_plan("s", different, ledger))) == []


def test_trials_of_one_config_cost_one_trial(ledger: Ledger) -> None:
    for keep in ("final", "none"):
        space = Space(question="?", config=EQUAL.config, arms=EQUAL.arms, keep=keep)
        plan = make_plan("s", space, ledger)
        left = remaining(plan, Estimator(ledger))
        costs = {cell: left[TrialKey(cell, "final", 0)] for cell in ("a", "b", "c")}
        assert costs["a"].cost.device_seconds > 0 == costs["b"].cost.device_seconds
        assert [costs[cell].networks for cell in ("a", "b", "c")] == [1, 0, 1]
        networks = networks_to_train(plan.pending, plan.kept, keeps=plan.keeps)
        assert sum(n for _, n in networks) == 2


def test_the_best_search_trial_is_a_final_trial_unless_it_was_made_cheaper(ledger: Ledger) -> None:
    def costs(**settings: dict[str, int]) -> list[float]:
        config = {**SMALL, "mode": {"diffusion": {"schedule": Choice(["linear", "cosine"])}}}
        space = Space(
            question="?", config=config, replicates=2, search=Search(trials=2, **settings)
        )
        left = remaining(make_plan("s", space, ledger), Estimator(ledger))
        return [left[TrialKey("default", "final", i)].cost.device_seconds for i in range(2)]

    first, second = costs()
    assert first == 0 < second
    assert min(costs(overrides={"train.batch": 1})) > 0


def test_the_count_of_a_sweep_ends_at_nothing_left(ledger: Ledger) -> None:
    text = io.StringIO()
    display = ProgressDisplay(Console(file=text, width=200), Estimator(ledger))
    plan = make_plan("s", EQUAL, ledger)
    display.begin(plan, Resources(1, 0))
    for trial in {t.digest: t for t in plan.pending}.values():
        display.ended(trial.label, trial, "finished", 0.5, None)
    assert "2 finished; 0 left" in text.getvalue().splitlines()[-1]

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning import selection, trial_state
from orchestrator.planning.selection import Standing
from orchestrator.search import pruning
from orchestrator.search.pruning import Rung
from orchestrator.sweep.budget import Spent
from search_spaces import Budget
from trainables.schemas import Outcome

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


@given(others=SCORES)
def test_a_trial_better_than_all_others_goes_on(others: list[float]) -> None:
    assert not pruning.stop_early(max(others) + 0.1, others)


@given(others=SCORES)
def test_a_trial_worse_than_all_others_stops(others: list[float]) -> None:
    assert pruning.stop_early(min(others) - 0.1, others)


@given(others=SCORES, score=st.floats(0, 1))
def test_at_most_half_of_a_rung_stops(others: list[float], score: float) -> None:
    everyone = [*others, score]
    stopped = 0
    for i, s in enumerate(everyone):
        stopped += pruning.stop_early(s, everyone[:i] + everyone[i + 1 :])
    assert stopped <= (len(everyone) + 1) // 2


@pytest.mark.parametrize(
    ("outcome", "failures", "lease", "expected"),
    [
        (None, 0, None, "pending"),
        (None, 0, 10.0, "running"),
        (None, 0, 1e6, "pending"),
        ("finished", 2, 10.0, "done"),
        ("pruned", 0, None, "done"),
        ("diverged", 0, None, "done"),
        ("failed", 2, None, "pending"),
        ("failed", 3, None, "given up"),
    ],
)
def test_state(outcome: object, failures: int, lease: float | None, expected: str) -> None:
    assert trial_state.state(outcome, failures, lease) == expected  # type: ignore[arg-type]


def test_a_pruned_trial_does_not_answer_for_a_final_one() -> None:
    assert trial_state.counts_as_done("pruned", "search")
    assert not trial_state.counts_as_done("pruned", "final")


def standings(scores: dict[str, float]) -> dict[str, Standing]:
    return {digest: Standing((score,)) for digest, score in scores.items()}


def test_best_prefers_finished_over_better_pruned() -> None:
    outcomes: dict[str, Outcome] = {"a": "finished", "b": "pruned", "c": "finished", "d": "failed"}
    known = standings({"a": 0.5, "b": 0.9, "c": 0.6, "d": 1.0})
    assert selection.best(known, outcomes) == "c"
    assert selection.best(standings({"b": 0.9}), {"b": "pruned"}) == "b"
    assert selection.best(standings({"d": 0.9}), {"d": "failed"}) is None


def test_best_breaks_ties_the_same_way_every_time() -> None:
    outcomes: dict[str, Outcome] = dict.fromkeys("zyx", "finished")
    assert selection.best(standings(dict.fromkeys("zyx", 0.5)), outcomes) == "x"


VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(values=VALUES, within=st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_front_is_optunas_and_holds_the_best(
    values: list[tuple[int, int]], within: list[bool]
) -> None:
    study = optuna.create_study(directions=["maximize", "maximize"])
    known: dict[str, Standing] = {}
    for i, (pair, fine) in enumerate(zip(values, within, strict=False)):
        known[str(i)] = Standing((float(pair[0]), float(pair[1])), (0.0 if fine else 1.0,))
        trial = study.ask()
        trial.set_constraint("limit", 0.0 if fine else 1.0)
        study.tell(trial, list(pair))
    found = selection.front(known)
    assert sorted(found, key=int) == [str(t.number) for t in study.best_trials]
    outcomes: dict[str, Outcome] = dict.fromkeys(known, "finished")
    best = selection.best(known, outcomes)
    assert (best is None) == (not found)
    assert best is None or best in found


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@given(
    mine=st.lists(st.floats(0, 1), min_size=2, max_size=10),
    gaps=st.lists(st.floats(-0.5, 0.5), min_size=10, max_size=10),
)
def test_the_pruner_over_cases_is_optunas(mine: list[float], gaps: list[float]) -> None:
    its = [m + g for m, g in zip(mine, gaps, strict=False)]
    pruner = optuna.pruners.WilcoxonPruner(p_threshold=pruning.WILCOXON_P, n_startup_steps=0)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for cases in (its, mine):
        trial = study.ask()
        for step, value in enumerate(cases):
            trial.report(value, step)
        if cases is its:
            study.tell(trial, sum(its) / len(its))
    assert pruning.clearly_worse(mine, its) == trial.should_prune()


def test_a_rung_judges_as_its_pruner_says() -> None:
    weak, strong = Rung(0.3, (0.2, 0.3, 0.2, 0.3, 0.5)), Rung(0.6, (0.5, 0.6, 0.7, 0.8, 0.6))
    noisy = Rung(0.5, (0.1, 0.9, 0.1, 0.9, 0.5))
    assert pruning.pruned("none", weak, [strong, strong]) is None
    assert pruning.pruned("halving", weak, [strong, strong]) is not None
    assert pruning.pruned("wilcoxon", weak, [noisy, strong]) is not None  # against the best
    assert pruning.pruned("wilcoxon", noisy, [strong]) is None
    assert pruning.pruned("wilcoxon", strong, [weak]) is None
    assert pruning.pruned("wilcoxon", weak, []) is None


@pytest.mark.parametrize(
    ("budget", "spent", "words"),
    [
        (None, Spent(trials=10**6), None),
        (Budget(trials=3), Spent(trials=2), None),
        (Budget(trials=3), Spent(trials=3), "3 of 3 trials"),
        (Budget(hours=1), Spent(hours=1.5, trials=9), "1.5 of 1 hours"),
        (Budget(money=2, rates={"cpu": 1}), Spent(money=2.5), "2.5 of 2 money"),
    ],
)
def test_a_budget_is_spent_by_any_of_its_parts(
    budget: Budget | None, spent: Spent, words: str | None
) -> None:
    assert budget.exhausted(budget, spent) == words

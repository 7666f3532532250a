"""The decision to stop a search trial at a rung."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search import pruning
from orchestrator.search.pruning import RungScore

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
    weak, strong = (
        RungScore(0.3, (0.2, 0.3, 0.2, 0.3, 0.5)),
        RungScore(0.6, (0.5, 0.6, 0.7, 0.8, 0.6)),
    )
    noisy = RungScore(0.5, (0.1, 0.9, 0.1, 0.9, 0.5))
    assert pruning.stop_reason("none", weak, [strong, strong]) is None
    assert pruning.stop_reason("halving", weak, [strong, strong]) is not None
    assert pruning.stop_reason("wilcoxon", weak, [noisy, strong]) is not None  # against the best
    assert pruning.stop_reason("wilcoxon", noisy, [strong]) is None
    assert pruning.stop_reason("wilcoxon", strong, [weak]) is None
    assert pruning.stop_reason("wilcoxon", weak, []) is None

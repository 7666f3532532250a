from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import policy

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


@given(others=SCORES)
def test_a_trial_better_than_all_others_goes_on(others: list[float]) -> None:
    assert not policy.stop_early(max(others) + 0.1, others)


@given(others=SCORES)
def test_a_trial_worse_than_all_others_stops(others: list[float]) -> None:
    assert policy.stop_early(min(others) - 0.1, others)


@given(others=SCORES, score=st.floats(0, 1))
def test_at_most_half_of_a_rung_stops(others: list[float], score: float) -> None:
    everyone = [*others, score]
    stopped = 0
    for i, s in enumerate(everyone):
        stopped += policy.stop_early(s, everyone[:i] + everyone[i + 1 :])
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
    assert policy.state(outcome, failures, lease) == expected  # type: ignore[arg-type]


def test_a_pruned_trial_does_not_answer_for_a_final_one() -> None:
    assert policy.counts_as_done("pruned", "search")
    assert not policy.counts_as_done("pruned", "final")


def test_best_prefers_finished_over_better_pruned() -> None:
    outcomes = {"a": "finished", "b": "pruned", "c": "finished", "d": "failed"}
    scores = {"a": 0.5, "b": 0.9, "c": 0.6, "d": 1.0}
    assert policy.best(scores, outcomes) == "c"  # type: ignore[arg-type]
    assert policy.best({"b": 0.9}, {"b": "pruned"}) == "b"
    assert policy.best({"d": 0.9}, {"d": "failed"}) is None


def test_best_breaks_ties_the_same_way_every_time() -> None:
    outcomes = dict.fromkeys("zyx", "finished")
    assert policy.best(dict.fromkeys("zyx", 0.5), outcomes) == "x"  # type: ignore[arg-type]

"""The state of a trial, from its outcome, its failures and its lease."""

from __future__ import annotations

import pytest

from orchestrator.planning import trial_state
from trainables.schemas import Outcome


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
def test_the_state_of_a_trial(
    outcome: Outcome | None, failures: int, lease: float | None, expected: str
) -> None:
    assert trial_state.state(outcome, failures, lease) == expected


def test_a_pruned_trial_does_not_answer_for_a_final_one() -> None:
    assert trial_state.counts_as_done("pruned", "search")
    assert not trial_state.counts_as_done("pruned", "final")

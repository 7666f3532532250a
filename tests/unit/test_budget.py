"""The limits of a budget."""

from __future__ import annotations

import pytest

from orchestrator.sweep.budget import Spent, exhausted
from search_spaces import Budget


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
    assert exhausted(budget, spent) == words

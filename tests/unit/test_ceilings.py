"""A best value that several searched trials share is no silent choice."""

from __future__ import annotations

from orchestrator.commands.sweep import remarks
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.ceilings import ceilings
from orchestrator.planning.plan import make_plan
from tests.unit.test_chosen import measure
from tests.unit.test_search_limits import space, suggest


def test_trials_that_share_the_best_value_are_counted(ledger: Ledger) -> None:
    first, second, third = suggest(ledger, make_plan("s", space(), ledger), 1, 2, 3)
    measure(ledger, first, dice=1.0, ece=0.1)
    measure(ledger, second, dice=0.4, ece=0.1)
    assert list(ceilings(make_plan("s", space(), ledger))) == []  # the search goes on
    measure(ledger, third, dice=1.0, ece=0.1)
    plan = make_plan("s", space(), ledger)
    (line,) = ceilings(plan)
    assert "2 of 3 searched trials reach the best value 1 of dice" in line
    assert line in list(remarks(plan, "again"))


def test_a_single_best_trial_is_no_reason_for_a_warning(ledger: Ledger) -> None:
    for digest, dice in zip(
        suggest(ledger, make_plan("s", space(), ledger), 1, 2, 3), (0.4, 0.4, 0.5), strict=True
    ):
        measure(ledger, digest, dice=dice, ece=0.1)
    assert list(ceilings(make_plan("s", space(), ledger))) == []

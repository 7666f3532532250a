"""What every analysis owes: a table of one schema, whatever the store has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from orchestrator.analyses import catalog, names
from orchestrator.ledger.ledger import Ledger
from tests.cells import commit

COUNTS = [(3, 1, 1), (2, 0, 1), (1, 1, 0)]
OF_PAIRS = {"ablation", "interactions", "ranks", "twins"}
OF_CELLS = {"costs", "leaderboard", "pareto", "readings", "reliability"}
PIXELS = {f"c{i}": [(0.2, 10, 3), (0.8, 5, 4)] for i in range(3)}


@pytest.mark.parametrize("name", names())
def test_an_empty_store_gives_an_empty_table(ledger: Ledger, name: str) -> None:
    table = catalog(ledger)[name]
    assert table.num_rows == 0
    assert table.column_names
    assert import_module(f"orchestrator.analyses.{name}").__doc__


@pytest.mark.parametrize("name", [n for n in names() if n != "costs"])
def test_trials_that_failed_are_no_results(ledger: Ledger, name: str) -> None:
    """They cost, so they are in ``costs``."""
    for seed in range(2):
        commit(ledger, f"{seed:016x}", "net", [], seed=seed, outcome="failed", reason="x")
    assert catalog(ledger)[name].num_rows == 0


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("arms", [1, 4])
def test_the_schema_is_the_same_with_rows(ledger: Ledger, name: str, arms: int) -> None:
    empty = catalog(ledger)[name].schema
    for i in range(arms):
        more: dict[str, Any] = {"mode": "diffusion" if i % 2 else "feedforward"}
        config = {"mode": {"diffusion": {"members": 1 + i % 2, "t_low": 0.1 * (i // 2)}}}
        commit(ledger, f"{i:016x}", f"arm{i}", COUNTS, PIXELS, config=config, **more)
    tables = catalog(ledger)
    assert tables[name].schema == empty
    assert tables.sql(f"SELECT * FROM {name}").num_rows == tables[name].num_rows
    if name in OF_PAIRS | OF_CELLS:
        assert (tables[name].num_rows > 0) == (arms > 1 or name in OF_CELLS)

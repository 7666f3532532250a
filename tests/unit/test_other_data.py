"""Cases of data that differ are never paired, although task and cases have the same names."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from tests.cells import as_counts, commit
from tests.conftest import Segprint

HASHES = ("a" * 64, "b" * 64)


@pytest.fixture
def both(ledger: Ledger) -> Ledger:
    """Two studies with three arms each, whose data have one name and different pixels."""
    for s, (study, data_hash) in enumerate(zip(("old", "new"), HASHES, strict=True)):
        for a, arm in enumerate(("diffusion", "twin", "third")):
            mode = "diffusion" if arm == "diffusion" else "feedforward"
            shares = [0.9 - 0.1 * a, 0.8 - 0.1 * a, 0.7, 0.6]
            commit(
                ledger, f"{s}{a}" * 8, arm, as_counts(shares), study=study, mode=mode,
                data_hash=data_hash, groups=list("ghij"),
            )  # fmt: skip
    return ledger


@pytest.mark.parametrize(
    ("one", "other"), [("old", "new"), ("old/task_twin", "new/task_twin"), ("00" * 8, "10" * 8)]
)
def test_compare_refuses_and_names_both_hashes(
    inline: Segprint, both: Ledger, one: str, other: str
) -> None:
    compared = inline("--store", both.store.url, "compare", one, other)
    assert compared.returncode == 1
    said = " ".join(compared.stderr.split())
    assert "are not compared: the data of task differ" in said
    assert all(h in said.replace(" ", "") for h in HASHES)
    same = inline("--store", both.store.url, "compare", "old/task_twin", "old/task_third")
    assert same.returncode == 0
    assert same.stderr == ""


@pytest.mark.parametrize(
    "view", ["leaderboard", "twins", "ranks", "ablation", "claims", "fingerprints", "distances"]
)
def test_no_view_puts_the_two_together(both: Ledger, view: str) -> None:
    tables = catalog(both)
    rows: list[dict[str, Any]] = tables[view].to_pylist()
    for row in rows:
        hashes = {h[:8] for h in HASHES if any(h[:8] in str(v) for v in row.values())}
        studies = {row[k] for k in row if k.startswith("study")} - {None}
        assert len(hashes) <= 1 or len(studies) > 1, row
    if view in ("leaderboard", "twins", "ablation"):
        assert {row["task"] for row in rows} == {f"task (data {h[:8]})" for h in HASHES}


def test_a_cell_of_two_data_is_two_cells(ledger: Ledger) -> None:
    for seed, data_hash in enumerate(HASHES):
        commit(ledger, f"{seed}" * 16, "one", as_counts([0.5, 0.6]), seed=seed, data_hash=data_hash)
    board = catalog(ledger)["leaderboard"].to_pylist()
    assert sorted((row["task"], row["seeds"]) for row in board) == [
        (f"task (data {h[:8]})", 1) for h in HASHES
    ]

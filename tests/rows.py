"""Rows of trials in a store, and what a reader sees of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot


def commit(ledger: Ledger, digest: str, outcome: Any = "finished", rows: int = 3) -> None:
    trial = {"outcome": outcome, "task": f"task {digest[-1]}", "model": "net", "score": 0.5}
    steps = [{"step": i, "loss_sum": 1.0, "loss_count": 1} for i in range(rows)]
    ledger.commit(digest, outcome, {"trials": [trial], "steps": steps})


def seen(ledger: Ledger) -> tuple[list[str], dict[str, int]]:
    """Digests of the trials, and how many steps each has; nothing may be damaged."""
    reader = Snapshot(ledger.store)
    trials = reader.table("trials")["digest"].to_pylist()
    steps = Counter(reader.table("steps")["digest"].to_pylist())
    assert reader.problems == []
    return sorted(trials), dict(steps)

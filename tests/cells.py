"""Cells of a study committed through the ledger: their pixels are given, nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from trainables.schemas import BINS

Counts = Sequence[tuple[int, int, int]]
"""(tp, fp, fn) of each test case."""
Pixels = Mapping[str, Sequence[tuple[float, int, int]]]
"""Of each test case, (probability, pixels, those of them that are foreground)."""


def commit(
    ledger: Ledger,
    digest: str,
    arm: str,
    counts: Counts,
    pixels: Pixels | None = None,
    *,
    study: str = "study",
    task: str = "task",
    seed: int = 0,
    config: dict[str, Any] | None = None,
    revision: str = "r1",
    outcome: str = "finished",
    groups: Sequence[str] | None = None,
    cell: str | None = None,
    more: Mapping[str, list[dict[str, Any]]] | None = None,
    **trial: Any,
) -> None:
    """One final trial; ``groups`` are those of its cases, ``trial`` columns of its row, ``more``
    further rows by table.
    """
    config = {"task": {task: {}}, **(config or {})}
    about = {"arm": arm, "config": config, "values": {}}
    ledger.studies.describe(study, {"revision": revision})
    name = cell or f"{task}_{arm}"
    ledger.studies.declare(Declared(study, revision, name, "final", seed, digest), about)
    row = {
        **{"task": task, "model": "ensemdiff", "mode": "diffusion", "schedule": "linear"},
        **{"seed": seed, "config": json.dumps(config), "code": "abc", "world_size": 1},
        **{"passes_per_image": 1, "train_seconds": 10.0, "test_seconds": 2.0},
        **{"test_images": len(counts), "device_seconds": 12.0, "ended_at": datetime.now(UTC)},
        **trial,
        "outcome": outcome,
    }
    key = {"split": "test", "group": "g", "class": "x", "reading": "sample"}
    of = {f"c{i}": group for i, group in enumerate(groups or "g" * len(counts))}
    cases = [
        {**key, "case": f"c{i}", "group": of[f"c{i}"], "tp": tp, "fp": fp, "fn": fn, "tn": 0}
        for i, (tp, fp, fn) in enumerate(counts)
    ]
    calibration = [
        {**key, "case": case, "group": of[case], **binned(p, count, true)}
        for case, rows in (pixels or {}).items()
        for p, count, true in rows
    ]
    tables: dict[str, Any] = {"trials": [row], "cases": cases, "calibration": calibration}
    for table, rows in (more or {}).items():
        common = key if table in tables else {}
        tables[table] = [*tables.get(table, []), *({**common, **row} for row in rows)]
    ledger.commit(digest, outcome, tables)


def binned(p: float, count: int, true: int) -> dict[str, Any]:
    """The sums of so many pixels of one probability."""
    return {
        "bin": min(int(p * BINS), BINS - 1),
        "count": count,
        "p_sum": p * count,
        "y_sum": float(true),
        "square_sum": true * (1 - p) ** 2 + (count - true) * p**2,
        "nll_sum": float(count),
    }


def as_counts(values: Any) -> list[tuple[int, int, int]]:
    """Pixels of which Dice is each value, to five digits."""
    hits = [round(100_000 * float(v)) for v in values]
    return [(hit, 100_000 - hit, 100_000 - hit) for hit in hits]


def named(rows: list[dict[str, Any]], key: str, **where: Any) -> dict[str, dict[str, Any]]:
    return {r[key]: r for r in rows if all(r[k] == v for k, v in where.items())}

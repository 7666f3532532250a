"""Studies that answer the source study's claims: arms whose rows are given, nothing is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from tests.cells import as_counts, commit

Array = np.ndarray[Any, Any]
CASES = 8
DICE = np.linspace(0.5, 0.8, CASES)
SPREAD = np.linspace(-0.1, 0.1, CASES)
"""How cases differ, far more than any two arms."""
EDGES = np.linspace(0.0, 1.0, 6)
ENSEMBLE = "better calibrated than an ensemble of its twin"
TWIN, SEGFORMER, NNUNET = "better calibrated than its feed-forward twin", "SegFormer", "nnU-Net"


def pixels(gap: Array) -> dict[str, list[tuple[float, int, int]]]:
    """Cases whose mean probability, 0.7, is so much above the share of foreground."""
    return {f"c{i}": [(0.7, 1000, round(1000 * (0.7 - g)))] for i, g in enumerate(gap)}


def arm(
    ledger: Ledger,
    name: str,
    mode: str = "feedforward",
    *,
    dice: Array = DICE,
    gap: float | Array = 0.2,
    model: str = "ensemdiff",
    task: str = "task",
    seed: int = 0,
    train: dict[str, Any] | None = None,
    scores: tuple[float, ...] = (0.8, 0.8, 0.8),
    cases: int = CASES,
    groups: Sequence[str] | None = None,
    more: dict[str, list[dict[str, Any]]] | None = None,
    trained_on: str | None = None,
    **fields: Any,
) -> None:
    """A finished trial, with its gap of calibration and its validations at equal distances."""
    config: dict[str, Any] = {
        "model": {model: {}},
        "mode": {mode: fields},
        "train": train or {"steps": 30},
    }
    if trained_on is not None:
        config |= {"task": {trained_on: {}}, "test": {"on": {task: {}}}}
    steps = [
        {"step": 10 * (i + 1), "score_sum": score, "score_count": 1}
        for i, score in enumerate(scores)
    ]
    gaps = np.broadcast_to(gap, len(dice))[:cases]
    digest = hashlib.sha256(f"{name} {task} {seed}".encode()).hexdigest()[:16]
    about: dict[str, Any] = {"task": task, "model": model, "mode": mode, "seed": seed}
    about |= {"config": config, "score": scores[-1], "passes_per_image": 1, **about}
    counts = as_counts(dice[:cases])
    about |= {"groups": groups, "more": {"steps": steps, **(more or {})}}
    commit(ledger, digest, name, counts, pixels(gaps), **about)


def claims(ledger: Ledger, statement: str, metric: str | None = None) -> list[dict[str, Any]]:
    rows = catalog(ledger)["claims"].to_pylist()
    return [r for r in rows if statement in r["statement"] and metric in (None, r["metric"])]


def only(ledger: Ledger, statement: str, metric: str | None = None) -> dict[str, Any]:
    (row,) = claims(ledger, statement, metric)
    return row

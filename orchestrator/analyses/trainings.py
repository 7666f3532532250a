"""Trainings: the weights that trials read, each with its cost and its number of readings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

SCHEMA = pa.schema(
    [
        ("training", pa.string()),
        ("task", pa.string()),
        ("model", pa.string()),
        ("mode", pa.string()),
        ("schedule", pa.string()),
        ("weights", pa.string()),
        ("readings", pa.int64()),
        ("digests", pa.list_(pa.string())),
        ("networks", pa.int64()),
        ("steps", pa.int64()),
        ("train_seconds", pa.float64()),
        ("spent_device_seconds", pa.float64()),
    ]
)
COLUMNS = (
    *("digest", "task", "model", "mode", "schedule", "outcome", "trainings", "weights"),
    *("steps", "train_seconds", "device_seconds", "reading_seconds", "world_size"),
    *("started_at", "ended_at"),
)
Key = tuple[str, str]
"""The digest of a training and the hash of its weights."""


def rows(tables: Catalog) -> pa.Table:
    """One row per training and weights that a finished trial has read.

    ``weights`` is the hash of the weights; ``readings`` is the number of the trials in ``digests``
    that read them. ``steps`` and ``train_seconds`` are those of the trial with the fewest
    ``networks``: with more than one, they are of all its networks. ``spent_device_seconds`` are the
    device-seconds that the trials spent on training; trials that only read spent none. What a trial
    spent is divided evenly between the networks that no trial had read before it began. Trials of
    schema 6 and earlier, and of models that an external library trains, are not here.
    """
    found: dict[Key, list[dict[str, Any]]] = {}
    for trial in tables["trials"].select(COLUMNS).to_pylist():
        if trial["outcome"] == "finished" and trial["weights"]:
            for key in _keys(trial):
                found.setdefault(key, []).append(trial)
    first_end = {key: min(t["ended_at"] for t in trials) for key, trials in found.items()}
    return pa.Table.from_pylist(
        [_row(key, found[key], first_end) for key in sorted(found)], schema=SCHEMA
    )


def _keys(trial: dict[str, Any]) -> list[Key]:
    return list(zip(trial["trainings"], trial["weights"], strict=True))


def _row(
    key: Key, trials: list[dict[str, Any]], first_end: Mapping[Key, datetime]
) -> dict[str, Any]:
    training, weights = key
    trials = sorted(trials, key=lambda t: (len(t["weights"]), t["digest"]))
    first = trials[0]
    return {
        **{name: first[name] for name in ("task", "model", "mode", "schedule")},
        "training": training,
        "weights": weights,
        "readings": len(trials),
        "digests": [t["digest"] for t in trials],
        "networks": len(first["weights"]),
        "steps": first["steps"],
        "train_seconds": first["train_seconds"],
        "spent_device_seconds": sum(_spent(trial, key, first_end) for trial in trials),
    }


def _spent(trial: dict[str, Any], key: Key, first_end: Mapping[Key, datetime]) -> float:
    """Return the device-seconds that a trial spent on training one of its networks."""
    keys = _keys(trial)
    trained = [k for k in keys if first_end[k] > trial["started_at"]] or keys
    spent = trial["device_seconds"] - trial["reading_seconds"] * trial["world_size"]
    return max(0.0, spent) / len(trained) if key in trained else 0.0

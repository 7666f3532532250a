"""The trained model of a digest, or of an arm of a study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.ledger.ledger import Ledger
from orchestrator.prediction.selected import Selected
from orchestrator.prediction.weight_files import SUFFIX, read_weights
from orchestrator.storage.location import default_store
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from trainables.part import unknown
from trainables.schemas import Row
from trainables.training.trained import Trained, WeightsError
from trainables.training.trained_model import TrainedModel

DIGEST = re.compile(r"[0-9a-f]{16}")


def load(digest: str, store: str | None = None, trust: Sequence[str] = ()) -> TrainedModel:
    """Return the trained model of a trial: a ``torch.nn.Module`` with ``predict(images)``.

    ``digest`` may also be ``STUDY/ARM``, ``STUDY/CELL`` or an exported ``FILE.safetensors``.
    ``store`` is a directory or ``s3://BUCKET/PREFIX``, by default ``$SEGPRINT_STORE`` or else
    ``results``; ``trust`` are Python files that the stored config may name.

    Raises:
        ValueError: there is no such trial, its weights are not kept or damaged, or its code has
            changed since.
    """
    return selected(Ledger(Store(store or default_store())), digest).model(trust)


def selected(ledger: Ledger, what: str) -> Selected:
    """Return the trial of a digest, or the best trial by validation of a study's arm or cell.

    ``what`` may also be a file of ``segprint weights export`` or ``import``.

    Raises:
        ValueError: there is no such trial, or its weights are not kept or damaged.
    """
    if what.endswith(SUFFIX):
        return read_weights(Path(what).expanduser())
    trial = _trial(ledger, what)
    trainings: list[str] = trial["trainings"] or []
    if not trial["weights"]:
        raise ValueError(
            f"{trial['digest']} has no weights in the store: it was committed before weights were"
            " kept, or an external library trained it"
        )
    weights: list[Trained] = []
    for training, sha256 in zip(trainings, trial["weights"], strict=True):
        kept = ledger.weights.load(training)
        if kept is None:
            raise WeightsError(
                f"weights {sha256[:16]} of {trial['digest']} are not kept; `segprint run"
                f" {trial['digest']}` trains it again"
            )
        if kept.sha256 != sha256:
            raise WeightsError(
                f"the store keeps weights {kept.sha256[:16]} of training {training}, trial"
                f" {trial['digest']} read {sha256[:16]}"
            )
        weights.append(kept)
    return Selected(trial, tuple(weights))


def _trial(ledger: Ledger, what: str) -> Row:
    """Return the row of the trial that is named."""
    digests = [what] if DIGEST.fullmatch(what) else _declared(ledger, what)
    rows = [
        row
        for row in Snapshot(ledger.store).table("trials", digests).to_pylist()
        if row["outcome"] == "finished"
    ]
    if not rows:
        raise ValueError(f"{what}: no finished trial in {ledger.store.url}")
    tasks = sorted({row["task"] for row in rows})
    if len(tasks) > 1:
        raise ValueError(
            f"{what} has trials of several tasks ({', '.join(tasks)}): name a cell"
            " (STUDY/CELL) or a digest"
        )
    return max(rows, key=lambda row: (row["score"] or -1.0, row["digest"]))


def _declared(ledger: Ledger, what: str) -> list[str]:
    """Return the digests of the final trials of ``STUDY/ARM`` or ``STUDY/CELL``."""
    study, _, name = what.partition("/")
    slots = [d for d in ledger.studies.current(study) if d.stage == "final"]
    if not slots:
        raise ValueError(
            f"{what!r} must be a digest or STUDY/ARM; the store has no study {study!r} with final"
            f" trials (choices: {', '.join(ledger.studies.names()) or 'none'})"
        )
    details = ledger.studies.undamaged(slots)
    slots = [d for d in slots if d.key in details]
    arms: dict[str, Any] = {d.key: details[d.key]["arm"] for d in slots}
    chosen = [d.digest for d in slots if name in ("", d.cell, arms[d.key])]
    if not chosen:
        raise unknown(f"arm of {study}", name, sorted({*arms.values(), *(d.cell for d in slots)}))
    return chosen

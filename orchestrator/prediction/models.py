"""The trained model of a digest, or of an arm of a study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.named_trials import named_trials
from orchestrator.prediction.selected import Selected
from orchestrator.prediction.weight_files import SUFFIX, read_weights
from orchestrator.storage.location import default_store
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
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
            f"{trial['digest']} has no weights in the store: a published study has none, nor has a"
            " trial of an external library, or one that was committed before weights were kept"
        )
    weights: list[Trained] = []
    for training, sha256 in zip(trainings, trial["weights"], strict=True):
        kept = ledger.weights.load(training)
        if kept is None:
            raise WeightsError(
                f"weights {sha256[:16]} of {trial['digest']} are not kept; `segprint evaluate"
                " STUDY --on DATASET --train` trains its networks again and keeps them"
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
    if DIGEST.fullmatch(what):
        digests = [what]
    else:
        choices = "a digest or STUDY/ARM"
        digests = [trial.slot.digest for trial in named_trials(ledger, what, choices)]
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

"""Which studies need the weights of a training: they declared a trial that reads them."""

from __future__ import annotations

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot


def needed_weights(ledger: Ledger) -> dict[str, list[str]]:
    """Return the studies, without retired ones, that need each training, by its digest."""
    slots = ledger.studies.current()
    declarations = ledger.studies.declarations(slots)
    read: dict[str, list[str]] = {}
    for row in Snapshot(ledger.store).table("trials").select(["digest", "trainings"]).to_pylist():
        read[row["digest"]] = row["trainings"] or []
    needed: dict[str, set[str]] = {}
    for slot in slots:
        trainings = [*declarations[slot.key].get("trainings", ()), *read.get(slot.digest, ())]
        for training in trainings:
            needed.setdefault(training, set()).add(slot.study)
    return {training: sorted(studies) for training, studies in needed.items()}

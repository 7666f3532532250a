"""Which studies need the weights of a training: they declared a trial that reads them."""

from __future__ import annotations

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot


def needed_weights(ledger: Ledger, *, strict: bool = True) -> dict[str, list[str]]:
    """Return the studies, without retired ones, that need each training, by its digest.

    Raises:
        ValueError: a declaration is damaged, and ``strict`` is set; otherwise it is left out, so
            the answer must not decide what is deleted.
    """
    slots = ledger.studies.current(strict=strict)
    studies = ledger.studies
    declarations = studies.declarations(slots) if strict else studies.undamaged(slots)
    read: dict[str, list[str]] = {}
    for row in Snapshot(ledger.store).table("trials").select(["digest", "trainings"]).to_pylist():
        read[row["digest"]] = row["trainings"] or []
    needed: dict[str, set[str]] = {}
    for slot in slots:
        declaration = declarations.get(slot.key)
        declared = declaration.get("trainings", ()) if declaration is not None else ()
        trainings = [*declared, *read.get(slot.digest, ())]
        for training in trainings:
            needed.setdefault(training, set()).add(slot.study)
    return {training: sorted(studies) for training, studies in needed.items()}

"""Which studies need the weights of a training: they declared a trial that reads them."""

from __future__ import annotations

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot


def needed_weights(
    ledger: Ledger, study: str | None = None, *, strict: bool = True
) -> dict[str, list[str]]:
    """Return the studies, without retired ones, that need each training, by its digest.

    Only one ``study`` is looked at if it is given. A study that keeps the weights of final trials
    needs those of search trials until the search of their cell is over, and its final trials are
    declared.

    Raises:
        ValueError: a declaration is damaged, and ``strict`` is set; otherwise it is left out, and
            committed rows are read only for declarations that name no trainings, so the answer
            must not decide what is deleted.
    """
    slots = ledger.studies.current(study, strict=strict)
    studies = ledger.studies
    declarations = studies.declarations(slots) if strict else studies.undamaged(slots)
    unknown = {s.digest for s in slots if strict or "trainings" not in declarations.get(s.key, ())}
    read = _read_trainings(ledger, unknown) if unknown else dict[str, list[str]]()
    needed: dict[str, set[str]] = {}
    decided = {(slot.study, slot.cell) for slot in slots if slot.stage == "final"}
    for slot in slots:
        declaration = declarations.get(slot.key)
        keep = declaration.get("keep") if declaration is not None else None
        if slot.stage == "search" and keep == "final" and (slot.study, slot.cell) in decided:
            continue
        declared = declaration.get("trainings", ()) if declaration is not None else ()
        trainings = [*declared, *read.get(slot.digest, ())]
        for training in trainings:
            needed.setdefault(training, set()).add(slot.study)
    return {training: sorted(studies) for training, studies in needed.items()}


def _read_trainings(ledger: Ledger, digests: set[str]) -> dict[str, list[str]]:
    """Return the trainings that committed trials read, by the trial's digest."""
    trials = Snapshot(ledger.store).table("trials", digests).select(["digest", "trainings"])
    return {row["digest"]: row["trainings"] or [] for row in trials.to_pylist()}

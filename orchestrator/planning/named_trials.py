"""The final trials that ``STUDY``, ``STUDY/ARM`` or ``STUDY/CELL`` names."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declaration, Declared
from trainables.part import unknown


class NamedTrial(NamedTuple):
    """A declared final trial of a study's current revision."""

    slot: Declared
    declaration: Declaration


def named_trials(
    ledger: Ledger, what: str, choices: str = "STUDY, STUDY/ARM or STUDY/CELL"
) -> list[NamedTrial]:
    """Return the final trials of a study, arm or cell; those with a damaged declaration are absent.

    Raises:
        ValueError: the store has no such study, arm or cell.
    """
    study, _, name = what.partition("/")
    slots = [d for d in ledger.studies.current(study) if d.stage == "final"]
    if not slots:
        raise ValueError(
            f"{what!r} must be {choices}; the store has no study {study!r} with final trials"
            f" (choices: {', '.join(ledger.studies.names()) or 'none'})"
        )
    details = ledger.studies.undamaged(slots)
    trials = [NamedTrial(d, details[d.key]) for d in slots if d.key in details]
    chosen = [t for t in trials if name in ("", t.slot.cell, t.declaration["arm"])]
    if not chosen:
        names = {n for t in trials for n in (t.slot.cell, t.declaration["arm"])}
        raise unknown(f"arm of {study}", name, sorted(names))
    return chosen

"""The final trials that ``STUDY``, ``STUDY/ARM`` or ``STUDY/CELL`` names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
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
        ValueError: the store has no such study, arm or cell, or the name is that of an arm and of a
            cell of another arm.
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
    check_unambiguous(what, name, ((t.slot.cell, t.declaration["arm"]) for t in chosen))
    return chosen


def check_unambiguous(what: str, name: str, cells: Iterable[tuple[str, str]]) -> None:
    """Check that a name does not mean an arm and also a cell of another arm.

    ``cells`` are (cell, arm) of all that the name means.

    Raises:
        ValueError: it does.
    """
    chosen = set(cells)
    of_arm = sorted(cell for cell, arm in chosen if arm == name)
    others = [arm for cell, arm in chosen if cell == name != arm]
    if of_arm and others:
        raise ValueError(
            f"{what!r} names the arm with the cells {', '.join(of_arm)}, and a cell of the arm"
            f" {others[0]}: name a cell of the arm, or a digest; another name of the arm in the"
            " space trains nothing again"
        )

"""What a study committed before some fields of a config existed, and so does not find again."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declared
from orchestrator.planning.plan import Plan
from trainables.config import parse, unsaid


@dataclass(frozen=True)
class Outdated:
    """Committed trials whose stored configs lack fields; a digest covers each with its default."""

    trials: int
    fields: list[str]

    def __str__(self) -> str:
        return (
            f"{self.trials} trials were committed before there was {', '.join(self.fields)}: a"
            " digest covers every field with its default, so they count as other configs and are"
            " trained anew"
        )


def outdated(made: Plan, ledger: Ledger) -> Outdated | None:
    """Of the cells that a study still has, in its earlier revisions; None if there is none.

    One trial of each cell and revision is looked at: they differ in values only.
    """
    cells, wanted = {cell.name for cell in made.cells}, {t.digest for t in made.trials}
    others = ledger.commits().keys() - wanted
    found: dict[tuple[str, str], list[Declared]] = {}
    for d in ledger.studies.declared(made.study):
        if d.revision != made.revision and d.cell in cells and d.digest in others:
            found.setdefault((d.revision, d.cell), []).append(d)
    about = ledger.studies.declarations(some[0] for some in found.values())
    digests, fields = set[str](), dict[str, None]()
    for some in found.values():
        spec = about[some[0].key]["config"]
        try:
            younger = unsaid(spec, parse(spec).plain())
        except ValueError:  # none of this code's configs: it was another question
            continue
        if younger:
            digests |= {d.digest for d in some}
            fields |= dict.fromkeys(younger)
    return Outdated(len(digests), list(fields)) if digests else None

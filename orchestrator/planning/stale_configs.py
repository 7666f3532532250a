"""Committed trials of a study whose configs lack fields that were added later."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declared
from orchestrator.planning.plan import Plan
from trainables.config import absent_paths, parse


@dataclass(frozen=True)
class Outdated:
    """The number of committed trials whose stored configs lack fields, and these fields."""

    trials: int
    fields: list[str]

    def __str__(self) -> str:
        return (
            f"{self.trials} trials were committed before {', '.join(self.fields)} existed: a"
            " digest covers every field with its default, so these trials count as other configs"
            " and are trained again"
        )


def outdated(plan: Plan, ledger: Ledger) -> Outdated | None:
    """Find outdated trials in earlier revisions of the plan's cells; None if there are none.

    One trial of each cell and revision is read, since the others differ in values only.
    """
    cells, wanted = {cell.name for cell in plan.cells}, {t.digest for t in plan.trials}
    others = ledger.commits().keys() - wanted
    groups: dict[tuple[str, str], list[Declared]] = {}
    for d in ledger.studies.declared(plan.study):
        if d.revision != plan.revision and d.cell in cells and d.digest in others:
            groups.setdefault((d.revision, d.cell), []).append(d)
    details = ledger.studies.declarations(group[0] for group in groups.values())
    digests, fields = set[str](), dict[str, None]()
    for group in groups.values():
        spec = details[group[0].key]["config"]
        try:
            missing = absent_paths(spec, parse(spec).plain())
        except ValueError:  # not a config of this version of the code
            continue
        if missing:
            digests |= {d.digest for d in group}
            fields |= dict.fromkeys(missing)
    return Outdated(len(digests), list(fields)) if digests else None

"""Committed trials of a study that count as other configs in this version of the code."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from orchestrator.formatting import plural, were
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declared
from orchestrator.planning.plan import Plan
from trainables.config import absent_paths, parse
from trainables.part import identity, parts_in
from trainables.trusted_files import UntrustedError, only_trusted

log = logging.getLogger("segprint.tables")


@dataclass(frozen=True)
class Outdated:
    """The committed trials that a plan would train again, by the reason."""

    trials: int
    """Trials whose stored configs lack ``fields``, which enter the digest."""
    fields: list[str]
    changed: int = 0
    """Trials whose data or formulas changed, so that their configs have another digest."""
    tiled: int = 0
    """Trials that were tested on tiles, the default before whole cases."""

    def __str__(self) -> str:
        lines: list[str] = []
        if self.trials:
            lines.append(
                f"{_trials(self.trials)} committed before {', '.join(self.fields)} existed: a"
                " digest covers every field with its default, so the configs count as others and"
                " are trained again"
            )
        if self.changed:
            lines.append(
                f"{_trials(self.changed)} committed before the data or a formula changed: the old"
                " rows stay readable, and the configs count as others and are trained again"
            )
        if self.tiled:
            lines.append(
                f"{_trials(self.tiled)} tested on tiles, an earlier default: the old rows stay"
                " readable, and the configs count as others; with"
                ' "test": {"unit": "tiles"} in the config the old rows are used'
            )
        return "\n".join(lines)


def _trials(count: int) -> str:
    return f"{plural(count, 'trial')} {were(count)}"


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
    examples = [config for pair in plan.examples.values() for config in pair]
    own_files = {part.file for config in examples for part in parts_in(config) if part.file}
    whole = {name: pair.final.test.unit == "cases" for name, pair in plan.examples.items()}
    whole |= {t.cell.name: t.config.test.unit == "cases" for t in plan.pending}
    lacking, changed, tiled = set[str](), set[str](), set[str]()
    fields = dict[str, None]()
    for group in groups.values():
        spec, digests = details[group[0].key]["config"], {d.digest for d in group}
        try:
            with only_trusted(own_files):
                config = parse(spec)
            missing = absent_paths(spec, identity(config))
            current = config.digest()
        except UntrustedError as error:
            log.warning("segprint: %s: %s", group[0].key, str(error).partition(";")[0])
            continue
        except (ValueError, OSError):  # no config of this version of the code, or no data
            continue
        if missing:
            lacking |= digests
            fields |= dict.fromkeys(missing)
        elif current != group[0].digest:
            changed |= digests
        elif config.test.unit == "tiles" and whole.get(group[0].cell):
            tiled |= digests
    if not lacking and not changed and not tiled:
        return None
    return Outdated(len(lacking), list(fields), len(changed), len(tiled))

"""Committed trials of a study that count as other configs in this version of the code."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from orchestrator.formatting import plural, were
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan
from trainables.config import absent_paths, parse
from trainables.part import Part, identity, parts_in
from trainables.part_fields import earlier_default
from trainables.trusted_files import UntrustedError, only_trusted

log = logging.getLogger("segprint.tables")

Path = tuple[str, ...]
"""The names that lead to a field of a config."""


@dataclass(frozen=True)
class Outdated:
    """The committed trials that a plan would train again, by the reason."""

    trials: int
    """Trials whose stored configs lack ``fields``, which enter the digest."""
    fields: list[str]
    changed: int = 0
    """Trials whose data or formulas changed, so that their configs have another digest."""
    defaulted: int = 0
    """Trials that were stored with a default which is another one now."""
    earlier: dict[Path, Any] = field(default_factory=dict["Path", Any])
    """The values of these defaults, by the path of the field."""

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
        if self.defaulted:
            settings = " and ".join(_setting(path, value) for path, value in self.earlier.items())
            lines.append(
                f"{_trials(self.defaulted)} committed with an earlier default: the old rows stay"
                " readable, and the configs count as others; with"
                f" {settings} in the config the old rows are used"
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
    now = {name: pair.final for name, pair in plan.examples.items()}
    now |= {trial.cell.name: trial.config for trial in plan.pending}
    lacking, changed, defaulted = set[str](), set[str](), set[str]()
    absent, earlier = dict[str, None](), dict[Path, Any]()
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
            absent |= dict.fromkeys(missing)
        elif current != group[0].digest:
            changed |= digests
        elif found := earlier_defaults(config, now.get(group[0].cell)):
            defaulted |= digests
            earlier |= found
    if not lacking and not changed and not defaulted:
        return None
    return Outdated(len(lacking), list(absent), len(changed), len(defaulted), earlier)


def earlier_defaults(old: Any, new: Any) -> dict[Path, Any]:
    """Return the fields that have an earlier default in ``old`` and another value in ``new``."""
    if type(old) is not type(new) or not dataclasses.is_dataclass(old):
        return {}
    name = (old.name,) if isinstance(old, Part) else ()
    found: dict[Path, Any] = {}
    for each in dataclasses.fields(old):
        was, now = getattr(old, each.name), getattr(new, each.name)
        below = earlier_defaults(was, now)
        found |= {(*name, each.name, *path): value for path, value in below.items()}
        if was != now and was == earlier_default(each) != each.default:
            found[*name, each.name] = was
    return found


def _setting(path: Path, value: Any) -> str:
    """Return a field as it is written in a config.

    >>> _setting(("test", "unit"), "tiles")
    '"test": {"unit": "tiles"}'
    """
    for name in reversed(path):
        value = {name: value}
    return json.dumps(value)[1:-1]

"""What nothing needs any more: never an object that a committed row is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.ledger.commits import PREFIX, DamagedError, NewerError, Record, load_record
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.local_files import Entry
from orchestrator.tables import delta_log
from trainables.schemas import SCHEMAS

GRACE = timedelta(days=1)
"""An attempt writes its objects, then its record; a slow store may stretch that to minutes."""


@dataclass(frozen=True)
class Garbage:
    """An object to delete, and why."""

    key: str
    size: int
    why: str


def garbage(ledger: Ledger, keep: timedelta) -> Iterator[Garbage]:
    """Everything that may go. ``keep``: for how long checkpoints and old files stay.

    Raises:
        DamagedError: it is not known what the commit records need: there is none, or a newer
            Segprint wrote one.
    """
    now = datetime.now(UTC)
    yield from _attempts(ledger, now - GRACE)
    yield from _in_flight(ledger, now - keep)
    for name in SCHEMAS:
        for entry in delta_log.unreferenced(ledger.store, name):
            if entry.modified < now - max(keep, GRACE):  # a committer may be about to name it
                yield Garbage(entry.key, entry.size, "no folded table refers to it any more")
    for entry in ledger.store.unfinished():
        if entry.modified < now - GRACE:
            yield Garbage(entry.key, entry.size, "left by a writer that was killed")
    for entry in ledger.store.entries("checks/"):
        if entry.modified < now - GRACE:
            yield Garbage(entry.key, entry.size, "left by a check of the store")


def _attempts(ledger: Ledger, before: datetime) -> Iterator[Garbage]:
    """Objects of attempts that have no commit record."""
    written = ledger.store.entries("trials/")  # before the records: those that follow are younger
    commits = ledger.store.list(PREFIX)
    if written and not commits:
        raise DamagedError(f"{PREFIX} is empty and trials/ is not: is this the whole store?")
    named, spared = set[str](), set[str]()
    for key, value in ledger.store.get_many(commits).items():
        record = load_record(key, value)
        if isinstance(record, NewerError):
            raise record
        if isinstance(record, Record):
            named |= {part.key for part in record.tables.values()}
        else:  # what it needs is not known
            spared.add(key.removeprefix(PREFIX).partition(".")[0])
    for entry in written:
        if entry.key.split("/")[1] in spared:
            continue
        if entry.key not in named and entry.modified < before:
            yield Garbage(entry.key, entry.size, "of an attempt that was never committed")


def _in_flight(ledger: Ledger, before: datetime) -> Iterator[Garbage]:
    """Checkpoints and leases of runs that are over, or that no study has asked for in a while."""
    ended = {d for d, c in ledger.commits().items() if c.outcome in ("finished", "diverged")}
    wanted = {declared.digest for declared in ledger.studies.current()}
    for prefix in ("checkpoints/", "leases/"):
        for entry in ledger.store.entries(prefix):
            digest = _digest(entry)
            if digest in ended:
                yield Garbage(entry.key, entry.size, "of a run that is committed")
            elif digest not in wanted and entry.modified < before:
                yield Garbage(entry.key, entry.size, "of a run that no study asks for")


def _digest(entry: Entry) -> str:
    return entry.key.partition("/")[2].partition(".")[0]

"""Garbage: objects that nothing needs, and never one that holds a committed row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.ledger.checkpoints import PREFIX as CHECKPOINTS
from orchestrator.ledger.commits import (
    PREFIX,
    Commit,
    DamagedError,
    MisplacedError,
    NewerError,
    Record,
    load_record,
)
from orchestrator.ledger.leases import PREFIX as LEASES
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.weights import PREFIX as WEIGHTS
from orchestrator.storage.object_store import Store
from orchestrator.storage.objects import Entry
from orchestrator.tables import delta_log
from orchestrator.tables.committer_lease import committer
from orchestrator.tables.compaction_log import batches, compacted_attempts
from orchestrator.tables.lost_records import QUARANTINE, lost
from orchestrator.tables.needed_weights import needed_weights
from trainables.schemas import SCHEMAS

GRACE = timedelta(days=1)
"""Younger objects stay: a writer needs minutes at most from its first object to its record."""


@dataclass(frozen=True)
class Garbage:
    """An object to delete, its size in bytes, and the reason."""

    key: str
    size: int
    why: str


def collect(ledger: Ledger, keep: timedelta, *, dry_run: bool = False) -> list[Garbage]:
    """Delete everything that :func:`garbage` yields, unless it is a ``dry_run``; return it.

    Raises:
        BusyError: another process writes to the tables.
        DamagedError: see :func:`garbage`.
    """
    found: list[Garbage] = []
    with committer(ledger.store) as renew:  # files that are committed meanwhile are not garbage
        for item in garbage(ledger, keep):
            found.append(item)
            renew()
        for item in [] if dry_run else found:
            ledger.store.delete(item.key)
            renew()
    return found


def garbage(ledger: Ledger, keep: timedelta) -> Iterator[Garbage]:
    """Yield everything that may be deleted.

    Replaced files, weights that no study needs, and checkpoints of runs that no study wants stay
    for ``keep``.

    Raises:
        DamagedError: the needs of the commit records are unknown, because there are none, or a
            newer Segprint wrote one.
    """
    now = datetime.now(UTC)
    yield from _uncommitted(ledger, now - GRACE)
    yield from _in_flight(ledger, now - keep)
    yield from _weights(ledger, now - max(keep, GRACE))
    for name in SCHEMAS:
        for entry in delta_log.unreferenced(ledger.store, name):
            if entry.modified < now - max(keep, GRACE):  # a committer may be about to name it
                yield Garbage(entry.key, entry.size, "no compacted table refers to it any more")
    for entry in ledger.store.unfinished():
        if entry.modified < now - GRACE:
            yield Garbage(entry.key, entry.size, "left by a writer that was killed")
    for entry in ledger.store.entries("checks/"):
        if entry.modified < now - GRACE:
            yield Garbage(entry.key, entry.size, "left by a check of the store")


def _uncommitted(ledger: Ledger, before: datetime) -> Iterator[Garbage]:
    """Yield the objects of attempts that have no commit record."""
    written = ledger.store.entries("trials/")  # before the records: later objects are younger
    commits = ledger.store.list(PREFIX)
    if written and not commits and not ledger.store.list(QUARANTINE):
        raise DamagedError(f"{PREFIX} is empty and trials/ is not: is this the whole store?")
    named, spared = set[str](), set[str]()
    folders = _folders_of_lost(ledger.store, commits)
    for key, value in ledger.store.get_many(commits).items():
        record = load_record(key, value)
        if isinstance(record, NewerError):
            raise record
        kept = record.record if isinstance(record, MisplacedError) else record
        if isinstance(kept, Record):
            named |= {stored.key for stored in kept.tables.values()}
        else:  # a damaged record may need any object of its digest
            spared.add(key.removeprefix(PREFIX).partition(".")[0])
    for entry in written:
        if entry.key.split("/")[1] in spared or entry.key.rpartition("/")[0] in folders:
            continue
        if entry.key not in named and entry.modified < before:
            yield Garbage(entry.key, entry.size, "of an attempt that was never committed")


def _folders_of_lost(store: Store, commits: list[str]) -> set[str]:
    """Return the folders of the attempts whose commit record is lost: it can be restored."""
    attempts = {key: a for batch in batches(store) for key, a in batch.members.items()}
    trials = delta_log.load(store, "trials")
    if trials is not None:
        attempts |= compacted_attempts(store, trials)
    found = lost(store, attempts, commits)
    parsed = {key: Commit.parse(key) for key in found}
    return {f"trials/{c.digest}/{found[key]}" for key, c in parsed.items() if c is not None}


def _in_flight(ledger: Ledger, before: datetime) -> Iterator[Garbage]:
    """Yield checkpoints and leases of ended runs, and old ones that no study wants."""
    ended = {d for d, c in ledger.commits().items() if c.outcome in ("finished", "diverged")}
    wanted = {declared.digest for declared in ledger.studies.current(strict=True)}
    for prefix in (CHECKPOINTS, LEASES):
        for entry in ledger.store.entries(prefix):
            digest = _digest(entry)
            if digest in ended:
                yield Garbage(entry.key, entry.size, "of a run that is committed")
            elif digest not in wanted and entry.modified < before:
                yield Garbage(entry.key, entry.size, "of a run that no study wants")


def _weights(ledger: Ledger, before: datetime) -> Iterator[Garbage]:
    """Yield weights that no study needs, and weights without a record; each record first."""
    entries = ledger.store.entries(WEIGHTS)
    if not entries:
        return
    needed, kept = needed_weights(ledger), ledger.weights.sizes()
    for entry in sorted(entries, key=lambda e: not e.key.endswith(".json")):
        training = entry.key.removeprefix(WEIGHTS).partition("/")[0].removesuffix(".json")
        if training in needed or entry.modified >= before:
            continue
        why = "weights that no study needs" if training in kept else "weights without a record"
        yield Garbage(entry.key, entry.size, why)


def _digest(entry: Entry) -> str:
    return entry.key.partition("/")[2].partition(".")[0]

"""Deletes trials and studies with everything that only they need.

The order makes a deletion repeatable: whatever step a death interrupts, the store is whole, and the
same command deletes the rest.

1. Each commit record of a trial is replaced by a note below ``quarantine/``: its rows vanish from
   readers, and the record does not count as lost.
2. The compacted tables are written without these rows.
3. The trials' objects, checkpoints, leases, and the weights that no other trial reads are deleted.
4. The declarations, by which the same command finds the trials again, are deleted last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.ledger.checkpoints import PREFIX as CHECKPOINTS
from orchestrator.ledger.commits import PREFIX, DamagedError, list_commits
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.driver_lock import current_driver, locked
from orchestrator.ledger.leases import PREFIX as LEASES
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.weights import PREFIX as WEIGHTS
from orchestrator.ledger.withdrawal import withdraw
from orchestrator.storage.object_store import Store
from orchestrator.storage.objects import Entry
from orchestrator.tables import delta_log
from orchestrator.tables.committer_lease import BusyError, committer
from orchestrator.tables.compaction import compact_committed
from orchestrator.tables.compaction_log import pending_attempts
from orchestrator.tables.deletion_notes import Note, notes
from orchestrator.tables.lost_records import QUARANTINE
from orchestrator.tables.row_removal import compacted_rows, remove_rows
from orchestrator.tables.snapshot import Snapshot
from trainables.part import unknown


@dataclass(frozen=True)
class Deletion:
    """What a deletion removes, and what it leaves because others need it."""

    studies: frozenset[str]
    digests: frozenset[str]
    slots: tuple[Declared, ...]
    """The declarations that go: those of the trials in any study, and all of the studies."""
    commits: tuple[str, ...]
    """The keys of the trials' commit records."""
    trainings: dict[str, frozenset[str]]
    """The trainings that each trial reads, by its digest."""
    objects: dict[str, tuple[Entry, ...]]
    """The objects to delete by what they hold: rows, checkpoints, weights, declarations."""
    compacted: int
    """The attempts of the trials in the compacted tables."""
    shared_trials: dict[str, frozenset[str]]
    """Trials of the studies that stay, with the other studies that declared them, by digest."""
    shared_weights: frozenset[str]
    """Trainings that the trials read and that stay, because other trials read them."""

    @property
    def affected(self) -> list[str]:
        """The studies that lose a declaration; none of them may run meanwhile."""
        return sorted(self.studies | {slot.study for slot in self.slots})

    @property
    def empty(self) -> bool:
        """Whether nothing is left to delete."""
        return not (self.commits or self.compacted or self.slots or any(self.objects.values()))


def planned(ledger: Ledger, names: Sequence[str]) -> Deletion:
    """Return what a deletion of studies and trials, by name or digest prefix, removes.

    Raises:
        ValueError: a name is neither a study nor the start of the digest of exactly one trial, or a
            declaration is damaged.
    """
    store, slots = ledger.store, ledger.studies.declared(whole=True)
    stored_studies = {key.split("/")[1] for key in store.list("studies/")}
    studies = frozenset(names) & stored_studies
    commits, set_aside = list_commits(store), notes(store)
    known = {c.digest for c in commits} | {s.digest for s in slots} | set_aside.keys()
    prefixes = [name for name in names if name not in studies]
    chosen = {_digest(prefix, known, stored_studies) for prefix in prefixes}
    declaring: dict[str, set[str]] = {}
    for slot in slots:
        declaring.setdefault(slot.digest, set()).add(slot.study)
    of_studies = {s.digest for s in slots if s.study in studies}
    shared = {d: frozenset(declaring[d] - studies) for d in of_studies - chosen}
    shared = {digest: others for digest, others in shared.items() if others}
    digests = frozenset((of_studies - shared.keys()) | chosen)
    read = _trainings(ledger, slots)
    for digest in digests & set_aside.keys():
        read.setdefault(digest, set()).update(set_aside[digest].trainings)
    needed = {t for digest, several in read.items() if digest not in digests for t in several}
    trainings = {d: frozenset(read.get(d, ())) for d in digests}
    unneeded = set[str]().union(*trainings.values()) - needed
    doomed = tuple(s for s in slots if s.study in studies or s.digest in digests)
    deletion = Deletion(
        studies,
        digests,
        doomed,
        tuple(c.key for c in commits if c.digest in digests),
        trainings,
        _objects(store, digests, unneeded, doomed, studies),
        compacted_rows(store, digests),
        shared,
        frozenset(set[str]().union(*trainings.values()) & needed),
    )
    if deletion.empty:
        raise unknown("study or trial", names[0], sorted(stored_studies))
    return deletion


def delete(
    ledger: Ledger, names: Sequence[str], alive_seconds: float, on_wait: Callable[[str], None]
) -> Deletion:
    """Delete studies and trials; return what was deleted.

    A run whose lease is younger than ``alive_seconds`` counts as running. ``on_wait`` gets a text
    if the lock of a driver elsewhere, which seems to be dead, has to lapse.

    Raises:
        ValueError: see :func:`planned`; or a driver or a run of one of the trials is alive.
        BusyError: another process writes to the tables.
        DamagedError: the compacted tables cannot be read.
    """
    store, before = ledger.store, planned(ledger, names)
    with ExitStack() as locks:
        for study in before.affected:
            locks.enter_context(locked(store, study, _refusing(store, study, on_wait)))
        if _pending(store):
            compact_committed(store)  # a batch that was begun must not lose a member
        with committer(store) as renew:
            if _pending(store):
                raise BusyError("another process began a compaction and did not end it; try again")
            deletion = planned(ledger, names)  # nothing moves any more
            if not set(deletion.affected) <= set(before.affected):
                raise BusyError("another study declared one of the trials meanwhile; try again")
            _refuse_running(ledger, deletion.digests, alive_seconds)
            _set_aside(store, deletion)
            remove_rows(store, deletion.digests, renew)
            for what in ("rows", "checkpoints", "weights"):
                for entry in deletion.objects[what]:
                    store.delete(entry.key)
                    renew()
        withdraw(store, (s for s in deletion.slots if s.study not in deletion.studies))
        for study in deletion.studies:
            ledger.studies.forget(study)
    return deletion


def _pending(store: Store) -> bool:
    """Whether a compaction was begun and not ended."""
    trials = delta_log.load(store, "trials")
    return bool(pending_attempts(store, trials.batch if trials is not None else 0))


def _digest(prefix: str, known: Iterable[str], studies: Iterable[str]) -> str:
    """Return the digest of the trial that a prefix names."""
    found = sorted(digest for digest in known if prefix and digest.startswith(prefix))
    if len(found) == 1 or prefix in found:
        return prefix if prefix in found else found[0]
    if not found:
        raise unknown("study or trial", prefix, sorted(studies))
    listed = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
    raise ValueError(f"{prefix!r} must be the start of one digest; {len(found)} match: {listed}")


def _trainings(ledger: Ledger, slots: Sequence[Declared]) -> dict[str, set[str]]:
    """Return the trainings that every declared or committed trial reads, by its digest."""
    read: dict[str, set[str]] = {}
    declarations = ledger.studies.declarations(slots)
    for slot in slots:
        declaration = declarations.get(slot.key)
        if declaration is not None:
            read.setdefault(slot.digest, set()).update(declaration.get("trainings", ()))
    snapshot = Snapshot(ledger.store)
    rows = snapshot.table("trials").select(["digest", "trainings"]).to_pylist()
    if snapshot.problems:  # a trial that is not read may need weights
        raise DamagedError(f"{snapshot.problems[0]}; nothing is deleted from a damaged store")
    for row in rows:
        read.setdefault(row["digest"], set()).update(row["trainings"] or ())
    return read


def _objects(
    store: Store,
    digests: frozenset[str],
    trainings: set[str],
    slots: Sequence[Declared],
    studies: frozenset[str],
) -> dict[str, tuple[Entry, ...]]:
    """Return the objects that only some trials, trainings and studies need."""
    keys = {slot.key for slot in slots}
    return {
        "rows": tuple(e for e in store.entries("trials/") if e.key.split("/")[1] in digests),
        "checkpoints": tuple(
            entry
            for prefix in (CHECKPOINTS, LEASES)
            for entry in store.entries(prefix)
            if entry.key.removeprefix(prefix).partition(".")[0] in digests
        ),
        # The record of a training is first: a record always has its weights.
        "weights": tuple(
            sorted(
                (e for e in store.entries(WEIGHTS) if _training(e.key) in trainings),
                key=lambda entry: not entry.key.endswith(".json"),
            )
        ),
        "declarations": tuple(
            entry
            for entry in store.entries("studies/")
            if entry.key in keys or entry.key.split("/")[1] in studies
        ),
    }


def _training(key: str) -> str:
    return key.removeprefix(WEIGHTS).partition("/")[0].removesuffix(".json")


def _refusing(store: Store, study: str, on_wait: Callable[[str], None]) -> Callable[[str], None]:
    """Return what is called when another process holds the lock of a study."""

    def refuse(holder: str) -> None:
        if current_driver(store, study) is not None:
            raise ValueError(f"study {study} is driven by {holder}: stop it first")
        on_wait(f"study {study} was driven by {holder}; waiting until its lock lapses")

    return refuse


def _refuse_running(ledger: Ledger, digests: frozenset[str], alive_seconds: float) -> None:
    ages = ledger.leases.ages()
    running = sorted(d for d in digests & ages.keys() if ages[d] < alive_seconds)
    if running:
        age = ages[running[0]]
        raise ValueError(
            f"trial {running[0]} is running: its last sign of life was {age:.0f} s ago; try again"
            f" when it has ended, or {alive_seconds:.0f} s after it was killed"
        )


def _set_aside(store: Store, deletion: Deletion) -> None:
    """Replace commit records by notes, which say that they are not lost."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for key in deletion.commits:
        digest = key.removeprefix(PREFIX).partition(".")[0]
        note = Note(now, tuple(sorted(deletion.trainings[digest])))
        store.put(QUARANTINE + key.removeprefix(PREFIX), note.dump())
        store.delete(key)

"""Planted faults, each in one place of the ledger or the tables, that the simulation must find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.ledger import commits, driver_lock, ledger, parquet, signs_of_life
from orchestrator.ledger.driver_lock import Driver, DriverLock
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import (
    batch_selection,
    compaction,
    deletion,
    delta_commit,
    delta_log,
    integrity,
    log_seal,
    snapshot,
    vacuum,
)
from orchestrator.tables.delta_commit import Change
from orchestrator.tables.delta_log import TableVersion
from orchestrator.tables.log_seal import Seal
from tests.simulation.machine import Rows, Sequences, Studies

Patch = pytest.MonkeyPatch


def record_first(patch: Patch) -> None:
    """The commit record is written before the attempt's objects."""
    commit = Ledger.commit

    def mutant(self: Ledger, *arguments: Any) -> bool:
        puts = list[tuple[str, bytes]]()
        put = Store.put

        def delayed(_: Store, key: str, value: bytes) -> None:
            puts.append((key, value))

        with Patch.context() as inner:
            inner.setattr(Store, "put", delayed)
            counts = commit(self, *arguments)
        for key, value in puts:
            put(self.store, key, value)
        return counts

    patch.setattr(Ledger, "commit", mutant)


def records_are_replaced(patch: Patch) -> None:
    """A record is written whether or not there is one."""

    def mutant(self: Store, key: str, value: bytes) -> bool:
        self.put(key, value)
        return True

    patch.setattr(Store, "create", mutant)


def every_attempt_counts(patch: Patch) -> None:
    """All commits of a digest are read."""
    patch.setattr(snapshot, "counted", lambda listed: {c.key: c for c in listed})  # pyright: ignore


def worst_outcome_counts(patch: Patch) -> None:
    """A failure takes the place of a finished trial."""
    patch.setattr(commits, "RANK", commits.RANK[::-1])


def writer_sleeps_and_is_not_asked(patch: Patch) -> None:
    """A writer that slept for days does not write its objects again."""
    patch.setattr(ledger, "SLEPT_SECONDS", float("inf"))


def vacuum_has_no_grace(patch: Patch) -> None:
    """Objects of a commit that is being written are garbage."""
    patch.setattr(vacuum, "GRACE", vacuum.timedelta(0))


def vacuum_ignores_lost_records(patch: Patch) -> None:
    """The objects of an attempt whose record is lost are garbage."""
    patch.setattr(vacuum, "_folders_of_lost", lambda *_: set[str]())  # pyright: ignore


def vacuum_ignores_the_log(patch: Patch) -> None:
    """Every data file is garbage."""

    def mutant(store: Store, name: str) -> list[Any]:
        entries = store.entries(f"tables/{name}/")
        return [entry for entry in entries if "_delta_log" not in entry.key]

    patch.setattr(delta_log, "unreferenced", mutant)


def log_is_dropped_from_its_start(patch: Patch) -> None:
    """A rebuild deletes the oldest entries of a log first."""

    def mutant(store: Store, name: str) -> None:
        store.delete(log_seal.key(name))
        for key in store.list(f"{delta_log.log_key(name)}/"):
            store.delete(key)

    patch.setattr(delta_log, "drop", mutant)


def deleted_trial_leaves_no_note(patch: Patch) -> None:
    """A deletion removes commit records and does not say so."""

    def mutant(store: Store, planned: deletion.Deletion) -> None:
        for key in planned.commits:
            store.delete(key)

    patch.setattr(deletion, "_set_aside", mutant)


def seal_first(patch: Patch) -> None:
    """The seal is written before the log."""
    write = delta_commit._write_log  # pyright: ignore[reportPrivateUsage]

    def mutant(store: Store, changed: TableVersion, *arguments: Any) -> TableVersion:
        log_seal.write(store, changed.name, changed.seal)
        return write(store, changed, *arguments)

    patch.setattr(delta_commit, "_write_log", mutant)


def append_without_precondition(patch: Patch) -> None:
    """A commit to a table ignores that the table changed since it was loaded."""

    def mutant(store: Store, base: Any) -> Any:
        return delta_log.open_version(store, base.name)

    patch.setattr(delta_commit, "_current", mutant)


def compacted_is_forgotten(patch: Patch) -> None:
    """A compaction takes what the tables have already."""
    patch.setattr(batch_selection, "compacted_attempts", lambda *_: dict[str, str]())  # pyright: ignore


def trials_first(patch: Patch) -> None:
    """``trials`` receives a batch before the other tables."""
    patch.setattr(compaction, "TABLES", compaction.TABLES[::-1])


def merged_files_stay(patch: Patch) -> None:
    """A merge adds the merged file and leaves the small ones in the table."""

    def mutant(add: Any = (), remove: Any = (), batch: int | None = None) -> Change:
        return Change(add, (), batch)

    patch.setattr(compaction, "Change", mutant)


def no_seal_check(patch: Patch) -> None:
    """A log that lost its end is taken for whole."""
    patch.setattr(Seal, "contradicts", lambda *_: False)  # pyright: ignore


def spliced_logs_are_read(patch: Patch) -> None:
    """A log whose entries do not follow one another is taken for whole."""
    patch.setattr(log_seal, "unbroken", lambda *_: True)  # pyright: ignore


def lost_record_is_silent(patch: Patch) -> None:
    """A check does not miss a lost record."""
    patch.setattr(integrity, "lost", lambda *_: dict[str, str]())  # pyright: ignore


def hashes_are_not_compared(patch: Patch) -> None:
    """Any bytes are taken for the committed object."""
    patch.setattr(parquet, "verify", lambda *_: None)  # pyright: ignore
    patch.setattr(integrity, "verify", lambda *_: None)  # pyright: ignore


def only_the_next_number_is_looked_for(patch: Patch) -> None:
    """A driver does not notice that several drivers came and went."""

    def mutant(self: DriverLock, _: float | None = None) -> None:
        started, driver = driver_lock.signs_of_life.now(), None
        with suppress(KeyError):
            driver = Driver.load(self.store.get(self.key))
        following = driver_lock._key(self.study, self.number + 1)  # pyright: ignore
        if driver is None or driver.claim != self.claim or self.store.get_many([following]):
            self.lost.set()
        else:
            self.looked_at = started

    patch.setattr(DriverLock, "look", mutant)


def driver_never_looks(patch: Patch) -> None:
    """A driver does not look whether it was taken over."""
    patch.setattr(DriverLock, "look", lambda *_: None)  # pyright: ignore


def next_driver_does_not_wait(patch: Patch) -> None:
    """A driver acts before the one that it took over has noticed."""
    patch.setattr(driver_lock, "_wait_until_noticed", lambda _: None)  # pyright: ignore


def living_driver_is_thrown_out(patch: Patch) -> None:
    """A driver elsewhere counts as gone at once."""
    patch.setattr(Driver, "gone", lambda _, unchanged: True)  # pyright: ignore


def clocks_are_compared(patch: Patch) -> None:
    """A driver elsewhere is judged by the time that it wrote, on this machine's clock."""

    def mutant(self: Driver, unchanged: float) -> bool:
        late = driver_lock.time.time() - self.at
        return self.process.dead() or late >= driver_lock.LAPSE_SECONDS

    patch.setattr(Driver, "gone", mutant)


def sleep_counts_as_watching(patch: Patch) -> None:
    """A driver that waits has watched another one while it slept itself."""
    patch.setattr(signs_of_life, "LONGEST_GAP", float("inf"))


@dataclass(frozen=True)
class Mutant:
    """A planted fault, and the state machine that must find it."""

    plant: Callable[[Patch], None]
    machine: type[Sequences] = Rows

    @property
    def name(self) -> str:
        return self.plant.__name__


MUTANTS: tuple[Mutant, ...] = (
    Mutant(record_first),
    Mutant(records_are_replaced),
    Mutant(every_attempt_counts),
    Mutant(worst_outcome_counts),
    Mutant(writer_sleeps_and_is_not_asked),
    Mutant(vacuum_has_no_grace),
    Mutant(vacuum_ignores_lost_records),
    Mutant(vacuum_ignores_the_log),
    Mutant(log_is_dropped_from_its_start),
    Mutant(deleted_trial_leaves_no_note),
    Mutant(seal_first),
    Mutant(append_without_precondition),
    Mutant(compacted_is_forgotten),
    Mutant(trials_first),
    Mutant(merged_files_stay),
    Mutant(no_seal_check),
    Mutant(spliced_logs_are_read),
    Mutant(lost_record_is_silent),
    Mutant(hashes_are_not_compared),
    Mutant(only_the_next_number_is_looked_for, Studies),
    Mutant(driver_never_looks, Studies),
    Mutant(next_driver_does_not_wait, Studies),
    Mutant(living_driver_is_thrown_out, Studies),
    Mutant(clocks_are_compared, Studies),
    Mutant(sleep_counts_as_watching, Studies),
)

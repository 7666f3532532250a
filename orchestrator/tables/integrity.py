"""Integrity: whether every committed object is what was written, and what to do if it is not."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import pyarrow as pa

from orchestrator.formatting import plural
from orchestrator.ledger import shared_declarations
from orchestrator.ledger.commits import (
    PREFIX,
    DamagedError,
    NewerError,
    Record,
    load_record,
)
from orchestrator.ledger.parquet import read_parquet, verify
from orchestrator.ledger.studies import Studies
from orchestrator.storage.object_store import Store
from orchestrator.storage.objects import Entry
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.compaction_log import Batch, batches, compacted_attempts, missing_numbers
from orchestrator.tables.delta_log import TableVersion
from orchestrator.tables.log_seal import ROOT, DataFile
from orchestrator.tables.lost_records import QUARANTINE, lost, restore
from trainables.schemas import SCHEMAS

READ_TOGETHER = 64
"""Objects that are read at once."""
REBUILD = "segprint tables rebuild"
Kind = Literal["damage", "note"]


@dataclass(frozen=True)
class Finding:
    """A damaged object, or a note about the store, with its place and its cure."""

    kind: Kind
    where: str
    what: str
    cure: str


class Check:
    """A walk over a store; a ``quick`` one trusts names and sizes, and reads no rows."""

    def __init__(self, store: Store, *, quick: bool = False) -> None:
        self.store, self.quick = store, quick
        self.counts = Counter[str]()
        """How many objects of each kind were looked at."""
        self.broken: dict[str, str] = {}
        """Attempts that cannot be read in full, by the key of their commit; empty if unknown."""
        self.lost: dict[str, str] = {}
        """Attempts whose commit record is lost, by its key."""
        self.versions = {name: self._load(name) for name in SCHEMAS}
        trials = self.versions["trials"]
        self.compacted: dict[str, str] = {}
        """Attempts that the tables hold, by the key of their commit."""
        if isinstance(trials, TableVersion):
            with contextlib.suppress(DamagedError):  # the walk over its files finds it again
                self.compacted = compacted_attempts(store, trials)

    def run(self) -> Iterator[Finding]:
        """Walk over the store, and yield each finding at once."""
        records: list[Record] = []
        keys = self.store.list(PREFIX)  # first: a commit's objects are older than its record
        objects = {entry.key: entry for entry in self.store.entries("trials/")}
        unread = set(keys)
        for key, value in self._values(keys):
            record = load_record(key, value)
            unread.discard(key)
            self.counts["commits"] += 1
            if isinstance(record, Record):
                records.append(record)
                yield from self._check_objects(record, objects)
                yield from self._check_current(record)
            elif isinstance(record, NewerError):
                yield Finding("note", key, str(record), "update Segprint")
            else:
                yield self._damaged(key, None, record)
        for key in sorted(unread):
            error = DamagedError(f"{key}: the commit record was listed and cannot be read")
            yield self._damaged(key, None, error)
        known: list[Batch] = []
        try:
            known = batches(self.store)
            self.counts["batches"] = len(known)
        except DamagedError as error:
            yield Finding("damage", ROOT, str(error), REBUILD)
        for number in missing_numbers(known):
            what = "is lost: which attempts the versions from it on had is unknown"
            yield Finding("note", Batch.key(number), what, "none; no row is lost")
        yield from self._check_lost(keys, known)
        yield from self._check_uncommitted(records, objects)
        for name in SCHEMAS:
            yield from self._check_table(name, records)
        yield from self._check_declarations()

    def restore(self) -> dict[str, Record | DamagedError]:
        """Write lost commit records again; return each, or what prevents it, by its key.

        Raises:
            DamagedError: a batch or a table that names the attempts cannot be read.
        """
        written = restore(self.store, self.lost)
        for key, record in written.items():
            if isinstance(record, Record):
                del self.lost[key], self.broken[key]
        return written

    def quarantine(self) -> list[str]:
        """Move the damaged commits that no table holds aside, so that they are trained again.

        A lost record is noted there, so that it is not missed any more. Returns the keys.

        Raises:
            DamagedError: it is unknown which commits the tables hold.
        """
        if self.broken and isinstance(self.versions["trials"], DamagedError):
            raise DamagedError(
                f"{self.versions['trials']}; until then it is not known which damaged commits"
                " the compacted tables still have"
            )
        moved: list[str] = []
        for key, attempt in self.broken.items():
            if attempt and self.compacted.get(key) == attempt:
                continue
            if self._replaced(key, attempt):
                continue
            with contextlib.suppress(KeyError):  # another process moved it
                value = b"" if key in self.lost else self.store.get(key)
                self.store.put(QUARANTINE + key.removeprefix(PREFIX), value)
                self.store.delete(key)
                moved.append(key)
        return moved

    def _replaced(self, key: str, attempt: str) -> bool:
        """Whether a record was moved, or committed again, since it was found lost or damaged."""
        value = self.store.get_many([key]).get(key)
        if value is None or key in self.lost:
            return (value is None) != (key in self.lost)
        record = load_record(key, value)
        return isinstance(record, Record) and record.attempt != attempt

    def _values(self, keys: list[str]) -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(keys), READ_TOGETHER):
            yield from self.store.get_many(keys[start : start + READ_TOGETHER]).items()

    def _load(self, name: str) -> TableVersion | DamagedError | None:
        try:
            return delta_log.load(self.store, name)
        except DamagedError as error:
            return error

    # -- commits ------------------------------------------------------------------------------

    def _check_current(self, record: Record) -> Iterator[Finding]:
        """The tables must not hold another attempt than the record names."""
        compacted = self.compacted.get(record.key, record.attempt)
        if compacted != record.attempt:
            what = (
                f"the tables hold attempt {compacted} and the record names {record.attempt}, which"
                " counts: the first record was lost, and the trial was trained again"
            )
            yield Finding("damage", record.key, what, REBUILD)

    def _check_objects(self, record: Record, objects: dict[str, Entry]) -> Iterator[Finding]:
        """The objects of a record must be those that were committed."""
        tables = list(record.tables.values())
        values = {} if self.quick else self.store.get_many([stored.key for stored in tables])
        for stored in tables:
            self.counts["objects"] += 1
            entry = objects.get(stored.key)
            try:
                if not self.quick:
                    verify(stored, values.get(stored.key))
                elif entry is None:
                    raise DamagedError(f"{stored.key}: a committed object is missing")
                elif stored.size and entry.size != stored.size:
                    raise DamagedError(
                        f"{stored.key}: has {plural(entry.size, 'byte')}, must have {stored.size}"
                    )
            except DamagedError as error:
                yield self._damaged(record.key, record.attempt, error)

    def _damaged(self, key: str, attempt: str | None, error: DamagedError) -> Finding:
        self.broken[key] = attempt or ""
        if key in self.compacted and attempt in (None, self.compacted[key]):
            self.broken[key] = self.compacted[key]
            cure = "none needed: the compacted tables have its rows; do not rebuild them"
        else:
            cure = "segprint tables check --quarantine, then sweep again: it is trained again"
        return Finding("damage", key, str(error), cure)

    def _check_lost(self, keys: list[str], known: list[Batch]) -> Iterator[Finding]:
        """Every attempt in a batch or in the tables must have a commit record."""
        members = {key: attempt for batch in known for key, attempt in batch.members.items()}
        self.lost = lost(self.store, members | self.compacted, keys)
        self.broken |= self.lost
        for key in self.lost:
            cure = "segprint tables check --restore; without its objects, --quarantine"
            yield Finding("damage", key, "the commit record is lost", cure)

    def _check_uncommitted(
        self, records: list[Record], objects: dict[str, Entry]
    ) -> Iterator[Finding]:
        """Note attempts without a record; a damaged record may name any object."""
        named = {stored.key for record in records for stored in record.tables.values()}
        attempts = {key.rpartition("/")[0] for key in objects if key not in named}
        if attempts and not self.broken:
            count = plural(len(attempts), "attempt")
            what = f"{count} without a commit record: killed before it, or second"
            yield Finding("note", "trials/", what, "none needed; segprint tables gc drops them")

    # -- tables -------------------------------------------------------------------------------

    def _check_table(self, name: str, records: list[Record]) -> Iterator[Finding]:
        """A table must hold the committed rows of each compacted attempt, once."""
        where, version = f"{ROOT}{name}", self.versions[name]
        if isinstance(version, DamagedError):
            yield Finding("damage", where, str(version), REBUILD)
            return
        if version is None:
            if any(name in r.tables and self._is_compacted(r) for r in records):
                yield Finding("damage", where, "is missing", REBUILD)
            return
        rows, complete = Counter[str](), True
        for file in version.files:
            self.counts["files"] += 1
            try:
                rows.update(self._attempts(file))
            except DamagedError as error:
                complete = False
                yield Finding("damage", file.key, str(error), REBUILD)
        self.counts[f"{name} rows compacted"] = sum(rows.values())
        if complete:
            yield from self._check_rows(name, version, rows, records)

    def _check_rows(
        self, name: str, version: TableVersion, rows: Counter[str], records: list[Record]
    ) -> Iterator[Finding]:
        """Compare a table's number of rows per attempt with the records."""
        where, trials = f"{ROOT}{name}", self.versions["trials"]
        unfinished = isinstance(trials, TableVersion) and version.batch > trials.batch
        foreign = rows.keys() - set(self.compacted.values())
        if foreign and self.compacted and not unfinished:
            what = f"it has rows of {plural(len(foreign), 'attempt')} that no compaction wrote"
            yield Finding("damage", where, what, REBUILD)
        for record in records:
            if not self._is_compacted(record) or record.key in self.broken:
                continue
            stored = record.tables.get(name)
            committed, present = stored.rows if stored else 0, rows[record.attempt]
            if committed != present:
                what = f"{record.digest} has {plural(present, 'row')}, must have {committed}"
                yield Finding("damage", where, what, REBUILD)

    def _is_compacted(self, record: Record) -> bool:
        return self.compacted.get(record.key) == record.attempt

    def _attempts(self, file: DataFile) -> Counter[str]:
        """Return the number of rows of each attempt in a data file, after verifying the file."""
        if not self.quick:
            file_cache.audit(self.store, file)
        (path,) = file_cache.paths(self.store, [file])
        try:
            column = read_parquet(path, ["attempt"])["attempt"]
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedError(f"{file.key}: {error}") from None
        counts: list[Any] = cast("Any", column.value_counts()).to_pylist()
        return Counter({str(row["values"]): int(row["counts"]) for row in counts})

    # -- declarations -------------------------------------------------------------------------

    def _check_declarations(self) -> Iterator[Finding]:
        """Every object below ``studies/`` must parse, and declare what its key names."""
        for key, value in self._values(self.store.list("studies/")):
            self.counts["declarations"] += 1
            try:
                shared_declarations.verify(key, value)
            except ValueError as error:
                cure = "delete it, then sweep again: it is declared again"
                yield Finding("damage", key, str(error), cure)
        studies = Studies(self.store)
        for key in studies.lost(studies.declared()):
            cure = "sweep again: it is declared again"
            yield Finding("damage", key, "the declaration was compacted and is gone", cure)

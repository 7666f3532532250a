"""Whether everything committed is still what was written, and what to do where it is not."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger import shared_declarations
from orchestrator.ledger.commits import (
    PREFIX,
    Commit,
    DamagedError,
    NewerError,
    Record,
    load_record,
)
from orchestrator.ledger.parquet import verify
from orchestrator.storage.local_files import Entry
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.compaction_log import batches, folded
from orchestrator.tables.delta_log import TableVersion
from trainables.schemas import SCHEMAS

AT_ONCE = 64
"""Objects read together."""
QUARANTINE = "quarantine/"
Kind = Literal["damage", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, or merely worth knowing."""

    kind: Kind
    where: str
    what: str
    cure: str


class Check:
    """One walk over a store; ``quick`` believes names and sizes, and reads no rows."""

    def __init__(self, store: Store, *, quick: bool = False) -> None:
        self.store, self.quick = store, quick
        self.counts = Counter[str]()
        self.broken: dict[str, str] = {}
        """Commits that cannot be read in full, by key, and the attempt if it is known."""
        self.states = {name: self._load(name) for name in SCHEMAS}
        trials = self.states["trials"]
        self.folded: dict[str, str] = {}
        if isinstance(trials, TableVersion):
            with contextlib.suppress(DamagedError):  # found again, and told, with its file
                self.folded = folded(store, trials)

    def run(self) -> Iterator[Finding]:
        """Everything found, as it is found."""
        records: list[Record] = []
        keys = self.store.list(PREFIX)  # first: a commit's objects are older than its record
        objects = {entry.key: entry for entry in self.store.entries("trials/")}
        for start in range(0, len(keys), AT_ONCE):
            for key, value in self.store.get_many(keys[start : start + AT_ONCE]).items():
                found = load_record(key, value)
                self.counts["commits"] += 1
                if isinstance(found, Record):
                    records.append(found)
                    yield from self._placed(found)
                    yield from self._parts(found, objects)
                elif isinstance(found, NewerError):
                    yield Finding("note", key, str(found), "update Segprint")
                else:
                    yield self._damaged(key, None, found)
        yield from self._uncommitted(records, objects)
        for name in SCHEMAS:
            yield from self._table(name, records)
        yield from self._declarations()
        try:
            self.counts["batches"] = len(batches(self.store))
        except DamagedError as error:
            yield Finding("damage", delta_log.ROOT, str(error), "segprint tables rebuild")

    def quarantine(self) -> list[str]:
        """Set the damaged commits aside that no table has, so that they are trained again."""
        if self.broken and isinstance(self.states["trials"], DamagedError):
            raise DamagedError(
                f"{self.states['trials']}; until then it is not known which damaged commits"
                " the folded tables still have"
            )
        moved: list[str] = []
        for key, attempt in self.broken.items():
            if attempt and self.folded.get(key) == attempt:
                continue
            with contextlib.suppress(KeyError):  # somebody else was first
                self.store.put(QUARANTINE + key.removeprefix(PREFIX), self.store.get(key))
                self.store.delete(key)
                moved.append(key)
        return moved

    def _placed(self, record: Record) -> Iterator[Finding]:
        """A record must lie where its content says."""
        if Commit.key_of(record.digest, record.outcome, record.attempt) != record.key:
            error = DamagedError(f"it says {record.digest} {record.outcome}")
            yield self._damaged(record.key, record.attempt, error)

    def _parts(self, record: Record, objects: dict[str, Entry]) -> Iterator[Finding]:
        parts = list(record.tables.values())
        values = {} if self.quick else self.store.get_many([part.key for part in parts])
        for part in parts:
            self.counts["parts"] += 1
            entry = objects.get(part.key)
            try:
                if not self.quick:
                    verify(part, values.get(part.key))
                elif entry is None:
                    raise DamagedError(f"{part.key}: a committed object is missing")
                elif part.size and entry.size != part.size:
                    raise DamagedError(f"{part.key}: {entry.size} bytes, {part.size} were written")
            except DamagedError as error:
                yield self._damaged(record.key, record.attempt, error)

    def _damaged(self, key: str, attempt: str | None, error: DamagedError) -> Finding:
        self.broken[key] = attempt or ""
        if key in self.folded and attempt in (None, self.folded[key]):
            self.broken[key] = self.folded[key]
            cure = "none needed: the folded tables have its rows; do not rebuild them"
        else:
            cure = "segprint tables check --quarantine, then sweep again: it is trained anew"
        return Finding("damage", key, str(error), cure)

    def _uncommitted(self, records: list[Record], objects: dict[str, Entry]) -> Iterator[Finding]:
        named = {part.key for record in records for part in record.tables.values()}
        attempts = {key.rpartition("/")[0] for key in objects if key not in named}
        if attempts and not self.broken:
            what = f"{len(attempts)} attempts have no commit record: killed before it, or second"
            yield Finding("note", "trials/", what, "none needed; segprint tables gc drops them")

    def _table(self, name: str, records: list[Record]) -> Iterator[Finding]:
        """Every folded attempt has as many rows in the table as were committed, once."""
        state = self.states[name]
        if isinstance(state, DamagedError):
            yield Finding(
                "damage", f"{delta_log.ROOT}{name}", str(state), "segprint tables rebuild"
            )
            return
        if state is None:
            if any(name in r.tables and self.folded.get(r.key) == r.attempt for r in records):
                yield Finding(
                    "damage", f"{delta_log.ROOT}{name}", "is missing", "segprint tables rebuild"
                )
            return
        held, whole = Counter[str](), True
        for file in state.files:
            self.counts["files"] += 1
            try:
                held.update(self._attempts(file))
            except DamagedError as error:
                whole = False
                yield Finding("damage", file.key, str(error), "segprint tables rebuild")
        self.counts[f"{name} rows folded"] = sum(held.values())
        trials = self.states["trials"]
        begun = isinstance(trials, TableVersion) and state.folded > trials.folded
        strangers = held.keys() - set(self.folded.values())
        if strangers and whole and self.folded and not begun:
            what = f"it has rows of {len(strangers)} attempts that were never folded"
            yield Finding("damage", f"{delta_log.ROOT}{name}", what, "segprint tables rebuild")
        for record in records if whole else []:
            if self.folded.get(record.key) != record.attempt or record.key in self.broken:
                continue
            part = record.tables.get(name)
            wanted, got = part.rows if part else 0, held[record.attempt]
            if wanted != got:
                what = f"{record.digest} has {got} rows, {wanted} were committed"
                yield Finding("damage", f"{delta_log.ROOT}{name}", what, "segprint tables rebuild")

    def _attempts(self, file: delta_log.File) -> Counter[str]:
        """Rows of each attempt in a data file, after checking its content against its name."""
        if not self.quick:
            file_cache.audit(self.store, file)
        (path,) = file_cache.paths(self.store, [file])
        try:
            column = pq.read_table(path, columns=["attempt"])["attempt"]
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedError(f"{file.key}: {error}") from None
        counted: list[Any] = cast("Any", column.value_counts()).to_pylist()
        return Counter({str(row["values"]): int(row["counts"]) for row in counted})

    def _declarations(self) -> Iterator[Finding]:
        keys = self.store.list("studies/")
        for start in range(0, len(keys), AT_ONCE):
            for key, value in self.store.get_many(keys[start : start + AT_ONCE]).items():
                self.counts["declarations"] += 1
                try:
                    shared_declarations.verify(key, value)
                except ValueError as error:
                    cure = "delete it, then sweep again: it is declared anew"
                    yield Finding("damage", key, f"does not parse: {error}", cure)

    def _load(self, name: str) -> TableVersion | DamagedError | None:
        try:
            return delta_log.load(self.store, name)
        except DamagedError as error:
            return error

"""A snapshot: every row that counts, from the compacted tables and from the attempts since."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from orchestrator.ledger.commits import (
    PREFIX,
    Commit,
    DamagedError,
    Labels,
    Record,
    counted,
    labels_of,
    load_record,
)
from orchestrator.ledger.parquet import decode, verify
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.compaction_log import (
    Batch,
    batches,
    compacted_attempts,
    missing_numbers,
    pending_attempts,
)
from orchestrator.tables.delta_log import TableVersion
from orchestrator.tables.log_seal import ROOT
from orchestrator.tables.lost_records import lost
from orchestrator.tables.retrained import retrained
from orchestrator.tables.source import Source
from trainables.schemas import SCHEMA_VERSION, SCHEMAS

log = logging.getLogger("segprint.tables")
Item = TypeVar("Item")
READ_TOGETHER = 500
"""Objects that are in memory at once."""
MANY_IN_PLACE = 500
"""Objects from which DuckDB opens them itself."""
MANY_UNCOMPACTED = 2000
"""Attempts without rows in the tables from which reading says what makes it faster."""


class Snapshot:
    """The ledger's rows as they were when the snapshot was taken.

    ``trials`` is opened first and receives a batch last, so every table has all attempts that
    ``trials`` has. ``version``, the number of a batch, shows the rows that were compacted up to
    that batch, and no others.

    Raises:
        ValueError: there is no such version.
    """

    def __init__(self, store: Store, version: int | None = None) -> None:
        self.store, self.version = store, version
        self.problems: list[str] = []
        """Damages that were met; the rows are left out or read from elsewhere."""
        self._compacted: dict[str, str] = {}
        self._records: dict[str, Record | DamagedError] = {}
        self._trials = self._open_trials()
        listed = store.entries(PREFIX)
        commits = (Commit.parse(entry.key) for entry in listed)
        self._commits = {commit.key: commit for commit in commits if commit is not None}
        for entry in listed:
            if Commit.parse(entry.key) is None:
                self._report(f"{entry.key}: not the name of a commit record; not read")
        for key, record in retrained(store, self._compacted, listed).items():
            self._records[key] = record
            del self._compacted[key]  # its rows are read from the attempt's objects
        self._add_lost()
        if version is not None:
            self._go_back_to(version)

    def table(self, name: str, digests: Iterable[str] | None = None) -> pa.Table:
        """Return a table's rows, of all attempts that count or of those of some digests."""
        wanted = None if digests is None else set(digests)
        source = self.source(name, wanted)
        if not source.paths:
            return source.recent
        try:
            with duckdb.connect(":memory:") as connection:
                connection.execute("SET TimeZone = 'UTC'")
                source.attach(connection, wanted)
                return connection.table(name).to_arrow_table().cast(SCHEMAS[name])
        except duckdb.Error as error:
            first = str(error).partition("\n")[0]
            self._report(f"{ROOT}{name}: {first}; run `segprint tables rebuild`")
            return self._read_objects(name, set(self._counted), wanted)

    def source(self, name: str, digests: set[str] | None = None) -> Source:
        """Return where a table's rows are.

        A damaged table is reported, and its rows are read from the attempts' objects.
        """
        keys, files, attempts = set(self._counted), list[Path](), set[str]()
        if self._trials is not None:
            try:
                version = self._trials if name == "trials" else delta_log.load(self.store, name)
                # A table that is newer than all compacted attempts has no log and no rows.
                if version is None and not self._read_objects(name, keys, digests).num_rows:
                    return Source(name, files, attempts, [], SCHEMAS[name].empty_table())
                if version is None or version.batch < self._trials.batch:
                    what = f"{ROOT}{name} has not all that {ROOT}trials has"
                    raise DamagedError(f"{what}; run `segprint tables rebuild`")
                if not version.goes_with(self._trials):
                    what = f"{ROOT}{name} and {ROOT}trials are of two copies of a store"
                    raise DamagedError(f"{what}; run `segprint tables rebuild`")
                files = file_cache.paths(self.store, version.files)
                attempts = {a for key, a in self._compacted.items() if key in self._counted}
                keys -= set(self._compacted)
            except DamagedError as error:
                self._report(str(error))
        records = self._records_with(name, keys, digests)
        objects = self._readable_in_place(name, records)
        rows = self._decoded(name, [r for r in records if r.attempt not in objects])
        return Source(name, files, attempts, list(objects.values()), rows)

    def _open_trials(self) -> TableVersion | None:
        """Open ``trials`` and note which attempts it has; None if it is missing or damaged."""
        try:
            trials = delta_log.load(self.store, "trials")
            self._compacted = compacted_attempts(self.store, trials) if trials is not None else {}
        except DamagedError as error:
            self._report(str(error))
            return None
        return trials

    def _add_lost(self) -> None:
        """Report the attempts whose commit record is lost, and add the compacted ones."""
        for key in lost(self.store, self._compacted, self._commits):
            self._report(
                f"{key}: the commit record is lost, its rows are read from the tables; run"
                " `segprint tables check --restore`"
            )
            commit = Commit.parse(key)
            if commit is not None:
                self._commits[key] = commit
        batch = self._trials.batch if self._trials is not None else 0
        for key in lost(self.store, pending_attempts(self.store, batch), self._commits):
            if key not in self._compacted:
                self._report(
                    f"{key}: the commit record is lost, its rows are left out; run"
                    " `segprint tables check --restore`"
                )

    def _report(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
            log.warning("segprint: %s", problem)

    @cached_property
    def _counted(self) -> dict[str, Commit]:
        """The commits that count, by key."""
        return {c.key: c for c in counted(self._commits[k] for k in sorted(self._commits)).values()}

    def _go_back_to(self, version: int) -> None:
        known = batches(self.store)
        last = known[-1].number if known else 0
        if not 1 <= version <= last:
            choices = f"1..{last}" if last else "none before the first `segprint tables compact`"
            raise ValueError(f"version {version} is none of the store's (choices: {choices})")
        gone = [number for number in missing_numbers(known) if number <= version]
        if gone:
            raise ValueError(
                f"version {version} is unknown: {Batch.key(gone[0])}, which names its attempts, is"
                " lost; read without --version"
            )
        had = {k: a for batch in known if batch.number <= version for k, a in batch.members.items()}
        for key in had.keys() & self._commits:
            if self._attempt(key, had[key]) != had[key]:
                self._report(
                    f"{key}: its trial was trained again since version {version}; left out"
                )
                del had[key]
        self._commits = {key: c for key, c in self._commits.items() if key in had}

    def _attempt(self, key: str, unread: str) -> str:
        """Return the attempt of a commit that is read; ``unread`` if its record was not needed."""
        record = self._records.get(key)
        return record.attempt if isinstance(record, Record) else self._compacted.get(key, unread)

    def _read_objects(self, name: str, keys: set[str], digests: set[str] | None) -> pa.Table:
        """Return the rows of some commits from the attempts' own objects, verified.

        What is damaged is reported and left out.
        """
        return self._decoded(name, self._records_with(name, keys, digests))

    def _records_with(self, name: str, keys: set[str], digests: set[str] | None) -> list[Record]:
        """Return the records of some commits that have rows of a table; report damaged ones."""
        chosen = sorted(k for k in keys if digests is None or self._counted[k].digest in digests)
        unread = [key for key in chosen if key not in self._records]
        if len(unread) > MANY_UNCOMPACTED:
            log.warning(
                "segprint: %d attempts are read one by one; `segprint tables compact` makes this"
                " fast",
                len(unread),
            )
        for several in _together(unread):
            values = self.store.get_many(several)
            self._records |= {key: load_record(key, value) for key, value in values.items()}
        for key in set(unread) - self._records.keys():
            self._report(f"{key}: the commit record was listed and cannot be read; left out")
        records: list[Record] = []
        for record in (self._records[key] for key in chosen if key in self._records):
            if isinstance(record, DamagedError):
                self._report(f"{record}; left out, see `segprint tables check`")
            elif name in record.tables:
                records.append(record)
        return records

    def _decoded(self, name: str, records: list[Record]) -> pa.Table:
        """Return the rows of some attempts, verified; report damaged ones."""
        tables = [SCHEMAS[name].empty_table()]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for several in _together(records):
                objects = self.store.get_many([record.tables[name].key for record in several])
                for rows in pool.map(partial(self._rows, name, objects), several):
                    if isinstance(rows, DamagedError):
                        self._report(f"{rows}; left out, see `segprint tables check`")
                    else:
                        tables.append(rows)
        return pa.concat_tables(tables)

    def _readable_in_place(self, name: str, records: list[Record]) -> dict[str, Path]:
        """Return the verified files, by attempt, of objects that DuckDB reads where they are.

        It reads only the columns that a query needs, which takes a fraction of the time if there
        are many. Objects of earlier schemas are converted in memory.
        """
        if len(records) < MANY_IN_PLACE or not file_cache.readable_in_place(self.store):
            return {}
        files: dict[str, Path] = {}
        for several in _together([r for r in records if r.schema == SCHEMA_VERSION]):
            objects = self.store.get_many([record.tables[name].key for record in several])
            for record in several:
                stored = record.tables[name]
                with suppress(DamagedError):  # it is read in memory then, and reported
                    verify(stored, objects.get(stored.key))
                    files[record.attempt] = Path(self.store.url, stored.key)
        return files

    def _rows(
        self, name: str, objects: dict[str, bytes], record: Record
    ) -> pa.Table | DamagedError:
        """Return an attempt's rows of a table, or the error if they are damaged."""
        stored = record.tables[name]
        try:
            labels = record.labels or self._labels(record)
            return decode(stored, objects.get(stored.key), record, labels)
        except DamagedError as error:
            return error

    def _labels(self, record: Record) -> Labels:
        """Return the labels of an attempt from before records had them, from its trial."""
        stored = record.tables["trials"]
        value = self.store.get_many([stored.key]).get(stored.key)
        return labels_of(decode(stored, value, record, {}).to_pylist()[0])


def _together(items: list[Item]) -> Iterator[list[Item]]:
    """Yield as many items at once as may be in memory."""
    for start in range(0, len(items), READ_TOGETHER):
        yield items[start : start + READ_TOGETHER]

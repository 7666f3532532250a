"""Compaction: copies committed rows into a Delta table each, with a few large, sorted files.

Attempts are appended in numbered batches. ``tables/batches/NUMBER.json`` is created first, only if
it is absent, and names the commits of a batch. Then each table receives the batch in one Delta
commit that carries the number; ``trials`` is last. So a committer that follows a crashed one, or
works at the same time as another one, appends exactly what is missing. Readers take an attempt from
the tables if ``trials`` has it, else from its own objects: no row is ever invisible or present
twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from orchestrator.ledger.commits import DamagedError, Record, load_record
from orchestrator.ledger.parquet import coded, with_dictionaries
from orchestrator.ledger.studies import Studies
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.batch_selection import Notice, Rows, next_batch, no_notice
from orchestrator.tables.committer_lease import BusyError, committer
from orchestrator.tables.compaction_log import PREFIX as BATCHES
from orchestrator.tables.compaction_log import TABLES, Batch, batches
from orchestrator.tables.delta_commit import Change, ConflictError, commit
from orchestrator.tables.delta_log import TableVersion
from orchestrator.tables.log_seal import ROOT, DataFile

SORT_COLUMNS = ("task", "model", "mode", "schedule", "digest")
TARGET_BYTES = 64 << 20
"""The size of a merged file: about a million rows of the longest table."""
MOST_CONFLICTS = 30
"""Commits that may be refused before a compaction gives up."""


def compact_committed(store: Store, notice: Notice = no_notice) -> int:
    """Append all committed attempts that the tables lack; return their number.

    Raises:
        BusyError: another process writes to the tables.
        DamagedError: a log cannot be read, or an object is not what was committed.
    """
    attempts = conflicts = 0
    with committer(store) as renew:
        while True:
            try:
                found = next_batch(store, notice, renew)
                if found is None:
                    Studies(store).compact()
                    return attempts
                batch, rows = found
                for name in TABLES:
                    append(store, name, batch, rows)
                    renew()
            except ConflictError as error:
                conflicts += 1
                if conflicts > MOST_CONFLICTS:
                    raise BusyError(f"{error}, {conflicts} times") from None
                time.sleep(random.uniform(0, 0.1 * conflicts))
                continue
            attempts += sum(table.num_rows for table in rows.get("trials", ()))


def append(store: Store, name: str, batch: Batch, rows: Rows) -> None:
    """Append a batch to a table, unless the table has it.

    Raises:
        ConflictError: another committer changed the table at the same time.
        DamagedError: the table lacks an earlier batch; appending this one would hide that.
    """
    version = delta_log.load(store, name)
    if version is not None and version.batch >= batch.number:
        return
    if _lacks_earlier(store, name, version, batch.number):
        raise DamagedError(
            f"{ROOT}{name} has not all that was compacted before; run `segprint tables rebuild`"
        )
    added = [_sorted(name, rows[name])] if name in rows else []
    commit(store, name, Change(added, batch=batch.number, members=batch.members_hash), version)


def _lacks_earlier(store: Store, name: str, version: TableVersion | None, number: int) -> bool:
    """Whether a table lacks rows of the batches before a number; a new table has none of them."""
    if number == 1 or version is not None:
        return version is not None and version.batch < number - 1
    earlier = [key for b in batches(store) if b.number < number for key in b.members]
    records = (load_record(key, value) for key, value in store.get_many(earlier).items())
    return any(isinstance(record, Record) and name in record.tables for record in records)


def merge_small_files(store: Store) -> dict[str, tuple[int, int]]:
    """Merge small files; return the numbers of files before and after, of each table that changed.

    Raises:
        BusyError: another process writes to the tables.
        DamagedError: a log or a file cannot be read.
    """
    counts: dict[str, tuple[int, int]] = {}
    with committer(store) as renew:
        for name in TABLES:
            version = delta_log.load(store, name)
            if version is None:
                continue
            before = len(version.files)
            for small in _to_merge(version):
                rows = _sorted(name, [file_cache.read(store, file) for file in small])
                try:
                    version = commit(store, name, Change(add=[rows], remove=small), version)
                except ConflictError:  # the next call merges what is small then
                    break
                renew()
            if len(version.files) != before:
                counts[name] = before, len(version.files)
    return counts


def rebuild(store: Store, notice: Notice = no_notice) -> int:
    """Make the tables again from the commits; return how many attempts they hold.

    Batches keep their numbers. Rows of damaged attempts are not in the new tables: check the store
    first.

    Raises:
        BusyError: another process writes to the tables.
    """
    with committer(store):
        # ``trials`` first, so that it never has what another table lacks, and again at the end: a
        # committer that took over the lease meanwhile may have written it.
        for name in (*reversed(TABLES), "trials"):
            delta_log.drop(store, name)
        for key in store.list(BATCHES):
            try:
                Batch.load(key, store.get(key))
            except DamagedError as error:
                notice(f"{error}: its version is lost")
                store.delete(key)
    return compact_committed(store, notice)


def _sorted(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    """Return rows of one table sorted, with dictionary columns for texts."""
    whole = with_dictionaries(name, tables)
    return whole.take(np.lexsort([coded(whole[column])[1] for column in reversed(SORT_COLUMNS)]))


def _to_merge(version: TableVersion) -> Iterator[list[DataFile]]:
    """Yield groups of small files of about :data:`TARGET_BYTES`; the last group may be smaller."""
    together: list[DataFile] = []
    for file in (file for file in version.files if file.size < TARGET_BYTES // 2):
        together.append(file)
        if sum(f.size for f in together) >= TARGET_BYTES:
            yield together
            together = []
    if len(together) > 1:
        yield together

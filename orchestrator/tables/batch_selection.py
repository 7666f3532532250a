"""The next batch: which committed attempts a compaction appends to the tables, and their rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from orchestrator.ledger.commits import (
    PREFIX,
    Commit,
    DamagedError,
    Record,
    labels_of,
    load_record,
)
from orchestrator.ledger.parquet import decode, with_dictionaries
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log
from orchestrator.tables.compaction_log import PREFIX as BATCHES
from orchestrator.tables.compaction_log import TABLES, Batch, compacted_attempts
from orchestrator.tables.deletion_notes import deleted_keys
from orchestrator.tables.lost_records import lost, readmit
from orchestrator.tables.retrained import note_checked, retrained

MOST_COMMITS, MOST_BYTES = 2000, 32 << 20
"""Limits of a batch, which is held in memory; rows take about ten times their Parquet bytes."""
READ_TOGETHER = 100
"""Commits that are read at once."""
Rows = dict[str, list[pa.Table]]
"""Rows of several attempts, by table."""
Notice = Callable[[str], None]
"""Receives a text for the user about something that was left out."""


def no_notice(_: str) -> None:
    """Ignore notices."""


def next_batch(
    store: Store, notice: Notice = no_notice, renew: Callable[[], None] = lambda: None
) -> tuple[Batch, Rows] | None:
    """Return the batch to append now and its rows; None if every commit is in the tables.

    The batch of the next number may exist already, if its committer was killed or works at the
    same time. It is then completed as it was begun, without the rows of members that were deleted
    since. A member that was damaged since is left out of the batch, which is possible only as long
    as no table has it. A batch without members stays, because the number of a version must not be
    used again.

    Raises:
        DamagedError: a table has the batch already, and a member of it is damaged.
    """
    trials = delta_log.load(store, "trials")
    known = compacted_attempts(store, trials) if trials is not None else {}
    entries = store.entries(PREFIX)
    replaced = retrained(store, known, entries, whole=True)
    known = {k: attempt for k, attempt in known.items() if k not in replaced}
    readmit(store, {entry.key for entry in entries})  # before a batch takes them
    number = (trials.batch if trials else 0) + 1
    key = Batch.key(number)
    try:
        batch = Batch.load(key, store.get(key))
    except KeyError:
        later = _members_after(store, key)  # a rebuild comes here if a batch is lost
        new = (e.key for e in entries if e.key not in known and Commit.parse(e.key))
        listed = [k for k in new if k not in later]
        members, rows, objects = _readable(store, listed, notice, renew)
        if not members and not later:
            note_checked(store, entries)
            return None
        at = datetime.now(UTC).isoformat(timespec="seconds")
        store.create(key, Batch(number, at, members, objects).dump())
        batch = Batch.load(key, store.get(key))
        if batch.members == members:
            return batch, rows
    listed = [k for k in batch.members if k not in known]
    members, rows, objects = _readable(store, listed, notice, renew, batch.members)
    gone = lost(store, {key: batch.members[key] for key in listed}, members)
    left_out = set(listed) - members.keys()
    deleted = {key: batch.members[key] for key in deleted_keys(store, left_out)}
    damaged = left_out - deleted.keys()
    if damaged and any(_has(store, name, number) for name in TABLES):
        raise DamagedError(
            f"{key}: this batch was begun with {min(damaged)}, which is damaged or gone;"
            " run `segprint tables check --restore --quarantine`, then `segprint tables rebuild`"
        )
    members |= gone | deleted  # a record that is lost can be restored as long as a batch names it
    if members != batch.members:
        objects = {k: h for k, h in (batch.objects | objects).items() if k in members}
        batch = Batch(number, batch.at, members, objects)
        store.put(key, batch.dump())
    return batch, rows


def _members_after(store: Store, key: str) -> set[str]:
    """Return the commits of the batches after the one of a key."""
    keys = [k for k in store.list(BATCHES) if k > key]
    return {m for k, v in store.get_many(keys).items() for m in Batch.load(k, v).members}


def _has(store: Store, name: str, number: int) -> bool:
    version = delta_log.load(store, name)
    return version is not None and version.batch >= number


def _readable(
    store: Store,
    keys: list[str],
    notice: Notice,
    renew: Callable[[], None],
    wanted: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], Rows, dict[str, str]]:
    """Return the attempts, rows and hashes of commits, without damaged ones, as fit a batch.

    ``wanted`` gives the attempt that each commit must have; with it, all commits are returned
    whatever their size.
    """
    members: dict[str, str] = {}
    hashes: dict[str, str] = {}
    rows: Rows = {}
    size = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(keys), READ_TOGETHER):
            if wanted is None and (size > MOST_BYTES or len(members) >= MOST_COMMITS):
                break
            renew()
            values = store.get_many(keys[start : start + READ_TOGETHER])
            loaded = [load_record(key, value) for key, value in values.items()]
            records = [record for record in loaded if isinstance(record, Record)]
            objects = store.get_many([t.key for record in records for t in record.tables.values()])
            together: Rows = {}
            for record, tables in zip(
                loaded, pool.map(partial(_rows, objects), loaded), strict=True
            ):
                if isinstance(record, DamagedError) or isinstance(tables, DamagedError):
                    notice(f"{tables}; left out, see `segprint tables check`")
                    continue
                if wanted is not None and wanted[record.key] != record.attempt:
                    continue
                size += sum(stored.size for stored in record.tables.values())
                members[record.key] = record.attempt
                hashes[record.key] = record.objects
                for name, table in tables.items():
                    together.setdefault(name, []).append(table)
            for name, several in together.items():
                rows.setdefault(name, []).append(with_dictionaries(name, several))
    return members, rows, hashes


def _rows(
    objects: Mapping[str, bytes], record: Record | DamagedError
) -> dict[str, pa.Table] | DamagedError:
    """Return an attempt's rows by table; the error if an object is not what was committed."""
    if isinstance(record, DamagedError):
        return record
    labels = record.labels
    tables: dict[str, pa.Table] = {}
    try:
        for name in reversed(TABLES):  # trials first: older rows take their labels from it
            stored = record.tables.get(name)
            if stored is not None:
                tables[name] = decode(stored, objects.get(stored.key), record, labels)
                if name == "trials":
                    labels = labels_of(tables[name].to_pylist()[0])
    except DamagedError as error:
        return error
    return tables

"""Folding: committed objects become a few large, sorted files per table, in a Delta table each.

Attempts are folded in numbered batches. ``tables/batches/NUMBER.json`` is created first, if absent,
and says which commits a batch holds; then each table takes the batch, ``trials`` last, in one
Delta commit that carries the number. So whoever comes after a crash, or at the same time, finds
out what is left to do, and does it once. Readers take an attempt from the folded tables when
``trials`` has it, else from its own objects: nothing is ever invisible or there twice.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from orchestrator.ledger.commits import PREFIX, Commit, DamagedError, Record, labels_of, load_record
from orchestrator.ledger.parquet import coded, decode
from orchestrator.ledger.studies import Studies
from orchestrator.storage.object_store import Store
from orchestrator.tables import delta_log, file_cache
from orchestrator.tables.compaction_log import PREFIX as BATCHES
from orchestrator.tables.compaction_log import Batch, folded
from orchestrator.tables.delta_log import ContestedError, TableVersion
from trainables.schemas import SCHEMAS

TABLES = (*(name for name in SCHEMAS if name != "trials"), "trials")
"""In the order in which a batch goes in."""
SORTED = ("task", "model", "mode", "schedule", "digest")
MOST_COMMITS, MOST_BYTES = 2000, 32 << 20
"""Of one batch, which is held in memory; bytes of Parquet, about a tenth of what they become."""
TARGET_BYTES = 64 << 20
"""Of a compacted file: about a million rows of the longest table."""
LEASE = f"{delta_log.ROOT}committer.json"
LEASE_SECONDS = 120.0
SKEW_SECONDS = 60.0
"""A lease from further in the future is a wrong clock's."""
MOST_CONTESTED = 30
AT_ONCE = 100
"""Commits that are read together."""
Rows = dict[str, list[pa.Table]]
Notice = Callable[[str], None]


class BusyError(RuntimeError):
    """Somebody else is folding right now."""


def fold(store: Store, notice: Notice = lambda _: None) -> int:
    """Fold whatever is committed and not folded yet; how many attempts that was.

    Raises:
        BusyError: another committer is at it.
        DamagedError: a log cannot be read, or an object is not what was committed.
    """
    done = contested = 0
    with committer(store) as renew:
        while True:
            try:
                found = next_batch(store, notice, renew)
                if found is None:
                    Studies(store).compact()
                    return done
                batch, rows = found
                for name in TABLES:
                    take(store, name, batch, rows)
                    renew()
            except ContestedError as error:
                contested += 1
                if contested > MOST_CONTESTED:
                    raise BusyError(f"{error}: others commit to this table all the time") from None
                time.sleep(random.uniform(0, 0.1 * contested))
                continue
            done += len(batch.members)


def compact(store: Store) -> dict[str, tuple[int, int]]:
    """Merge each table's small files, sorted; files before and after, where anything changed."""
    changed: dict[str, tuple[int, int]] = {}
    with committer(store) as renew:
        for name in TABLES:
            state = delta_log.load(store, name)
            if state is None:
                continue
            before = len(state.files)
            for small in _bins(state):
                rows = _sorted(name, [file_cache.read(store, file) for file in small])
                try:
                    state = delta_log.change(store, name, [rows], small, follows=state)
                except ContestedError:  # somebody folded: what is small will be next time
                    break
                renew()
            if len(state.files) != before:
                changed[name] = before, len(state.files)
    return changed


def rebuild(store: Store, notice: Notice = lambda _: None) -> int:
    """Make the tables anew from the commit records; batches keep their numbers.

    What is damaged among the attempts' objects is not in the new tables; check first.
    """
    with committer(store):
        for name in reversed(TABLES):
            delta_log.drop(store, name)
        for key in store.list(BATCHES):
            try:
                Batch.load(key, store.get(key))
            except DamagedError as error:
                notice(f"{error}: its version is lost")
                store.delete(key)
    return fold(store, notice)


@contextmanager
def committer(store: Store) -> Generator[Callable[[], None]]:
    """Hold the committer's lease: it spares double work, the tables' logs keep the order."""
    me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        held = json.loads(store.get(LEASE))
        who, age = str(held["who"]), datetime.now(UTC).timestamp() - held["at"]
    except (KeyError, ValueError, TypeError):
        who, age = "", LEASE_SECONDS
    if -SKEW_SECONDS < age < LEASE_SECONDS:
        raise BusyError(f"{who} is folding this store, last seen {age:.0f} s ago")

    renewed = -math.inf

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > LEASE_SECONDS / 8:
            now, renewed = datetime.now(UTC).timestamp(), time.monotonic()
            store.put(LEASE, json.dumps({"who": me, "at": now}).encode())

    renew()
    try:
        yield renew
    finally:
        store.delete(LEASE)


def next_batch(
    store: Store, notice: Notice = lambda _: None, renew: Callable[[], None] = lambda: None
) -> tuple[Batch, Rows] | None:
    """The batch to fold now, and its rows by table; None if there is nothing to fold.

    Raises:
        DamagedError: the batch was begun, and cannot be completed as it was.
    """
    trials = delta_log.load(store, "trials")
    known = folded(store, trials) if trials is not None else {}
    number = (trials.folded if trials else 0) + 1
    key = Batch.key(number)
    try:
        batch = Batch.load(key, store.get(key))
    except KeyError:
        listed = [k for k in store.list(PREFIX) if k not in known and Commit.parse(k)]
        members, rows = _readable(store, listed, notice, renew)
        if not members:
            return None
        store.create(key, Batch(number, _now(), members).dump())
        batch = Batch.load(key, store.get(key))
        if batch.members == members:
            return batch, rows
    listed = [k for k in batch.members if k not in known]
    members, rows = _readable(store, listed, notice, renew, batch.members)
    lost = set(listed) - members.keys()
    if lost and any(_has(store, name, number) for name in TABLES):
        raise DamagedError(
            f"{key}: this batch was begun with {min(lost)}, which is damaged or gone;"
            " run `segprint tables check --quarantine`, then `segprint tables rebuild`"
        )
    if lost and not members:
        store.delete(key)
        return next_batch(store, notice, renew)
    if members != batch.members:
        batch = Batch(number, batch.at, members)
        store.put(key, batch.dump())
    return batch, rows


def _readable(
    store: Store,
    keys: list[str],
    notice: Notice,
    renew: Callable[[], None],
    wanted: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], Rows]:
    """Of these commits, as many as fit a batch, without those that are damaged.

    ``wanted`` says which attempt each must be, and that all are to fit.
    """
    members: dict[str, str] = {}
    rows: Rows = {}
    size = 0
    for start in range(0, len(keys), AT_ONCE):
        if wanted is None and (size > MOST_BYTES or len(members) >= MOST_COMMITS):
            break
        renew()
        found = _records(store, keys[start : start + AT_ONCE])
        good = [record for record in found if isinstance(record, Record)]
        objects = store.get_many([p.key for record in good for p in record.tables.values()])
        for record in found:
            try:
                if isinstance(record, DamagedError):
                    raise record
                if Commit.key_of(record.digest, record.outcome, record.attempt) != record.key:
                    raise DamagedError(f"{record.key}: it says {record.digest} {record.outcome}")
                if wanted is not None and wanted[record.key] != record.attempt:
                    continue
                mine = _rows(record, objects)
            except DamagedError as error:
                notice(f"{error}; left out, see `segprint tables check`")
                continue
            size += sum(part.size for part in record.tables.values())
            members[record.key] = record.attempt
            for name, table in mine.items():
                rows.setdefault(name, []).append(table)
    return members, rows


def _has(store: Store, name: str, number: int) -> bool:
    state = delta_log.load(store, name)
    return state is not None and state.folded >= number


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _records(store: Store, keys: list[str]) -> list[Record | DamagedError]:
    """Commit records, or what is wrong with them; deleted ones are left out."""
    return [load_record(key, value) for key, value in store.get_many(keys).items()]


def _rows(record: Record, objects: Mapping[str, bytes]) -> dict[str, pa.Table]:
    """An attempt's rows by table.

    Raises:
        DamagedError: an object is missing or is not what was committed.
    """
    mine = record.labels
    found: dict[str, pa.Table] = {}
    for name in reversed(TABLES):  # trials first: they say what older rows do not
        part = record.tables.get(name)
        if part is not None:
            found[name] = decode(part, objects.get(part.key), record, mine)
            if name == "trials":
                mine = labels_of(found[name].to_pylist()[0])
    return found


def take(store: Store, name: str, batch: Batch, rows: Rows) -> None:
    """Append a batch to one table, unless it is there already."""
    state = delta_log.load(store, name)
    if state is not None and state.folded >= batch.number:
        return
    added = [_sorted(name, rows[name])] if name in rows else []
    delta_log.change(store, name, added, folded=batch.number, follows=state)


def _sorted(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    """Rows of one table in order; their names are coded, which takes a fifth of the memory."""
    names = [f.name for f in SCHEMAS[name] if pa.types.is_string(f.type)]
    schema = pa.schema(
        f.with_type(pa.dictionary(pa.int32(), f.type)) if f.name in names else f
        for f in SCHEMAS[name]
    )
    whole = pa.concat_tables([schema.empty_table(), *(table.cast(schema) for table in tables)])
    whole = whole.unify_dictionaries().combine_chunks()
    return whole.take(np.lexsort([coded(whole[column])[1] for column in reversed(SORTED)]))


def _bins(state: TableVersion) -> Iterator[list[delta_log.File]]:
    """Small files to merge, each time as many as fill one."""
    small = [file for file in state.files if file.size < TARGET_BYTES // 2]
    taken: list[delta_log.File] = []
    for file in small:
        taken.append(file)
        if sum(f.size for f in taken) >= TARGET_BYTES:
            yield taken
            taken = []
    if len(taken) > 1:
        yield taken

"""Folding: committed objects become a few large, sorted files per table, in a Delta table each.

Attempts are folded in numbered batches. ``tables/batches/NUMBER.json`` is created first, if absent,
and says which commits a batch holds; then each table takes the batch, ``trials`` last, in one
Delta commit that carries the number. So whoever comes after a crash, or at the same time, finds
out what is left to do, and does it once. Readers take an attempt from the folded tables when
``trials`` has it, else from its own objects: nothing is ever invisible or there twice.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import pyarrow as pa

from orchestrator import datafiles, delta
from orchestrator.batches import Batch, folded
from orchestrator.delta import ContestedError, State
from orchestrator.parts import decode
from orchestrator.records import PREFIX, Commit, DamagedError, Record, about, load_record
from orchestrator.store import Store
from orchestrator.studies import Studies
from trainables.record import SCHEMAS

TABLES = (*(name for name in SCHEMAS if name != "trials"), "trials")
"""In the order in which a batch goes in."""
SORTED = ("task", "model", "mode", "schedule", "digest")
MOST_COMMITS, MOST_BYTES = 2000, 64 << 20
"""Of one batch, which is held in memory; bytes of Parquet, about a tenth of what they become."""
TARGET_BYTES = 64 << 20
"""Of a compacted file: about a million rows of the longest table."""
LEASE = f"{delta.ROOT}committer.json"
LEASE_SECONDS = 120.0
Notice = Callable[[str], None]


class BusyError(RuntimeError):
    """Somebody else is folding right now."""


def fold(store: Store, notice: Notice = lambda _: None) -> int:
    """Fold whatever is committed and not folded yet; how many attempts that was.

    Raises:
        BusyError: another committer is at it.
        DamagedError: a log cannot be read, or an object is not what was committed.
    """
    done = 0
    with committer(store) as renew:
        while True:
            try:
                batch, parts = next_batch(store, notice)
                if not batch.members:
                    Studies(store).fold()
                    return done
                for name in TABLES:
                    take(store, name, batch, parts)
                    renew()
            except ContestedError:
                continue
            done += len(batch.members)


def compact(store: Store) -> dict[str, tuple[int, int]]:
    """Merge each table's small files, sorted; files before and after, where anything changed."""
    changed: dict[str, tuple[int, int]] = {}
    with committer(store) as renew:
        for name in TABLES:
            state = delta.load(store, name)
            if state is None:
                continue
            before = len(state.files)
            for small in _bins(state):
                rows = _sorted(name, [datafiles.read(store, file) for file in small])
                state = delta.change(store, name, [rows], small, follows=state)
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
            delta.drop(store, name)
    return fold(store, notice)


@contextmanager
def committer(store: Store) -> Generator[Callable[[], None]]:
    """Hold the committer's lease: it spares double work, the tables' logs keep the order."""
    me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        held = json.loads(store.get(LEASE))
        age = datetime.now(UTC).timestamp() - held["at"]
    except (KeyError, ValueError):
        held, age = {}, LEASE_SECONDS
    if age < LEASE_SECONDS:
        raise BusyError(f"{held['who']} is folding this store, last seen {age:.0f} s ago")

    def renew() -> None:
        now = datetime.now(UTC).timestamp()
        store.put(LEASE, json.dumps({"who": me, "at": now}).encode())

    renew()
    try:
        yield renew
    finally:
        store.delete(LEASE)


def next_batch(
    store: Store, notice: Notice = lambda _: None
) -> tuple[Batch, dict[str, list[pa.Table]]]:
    """The batch to fold now, and its rows by table; without members if there is none."""
    trials = delta.load(store, "trials")
    number = (trials.folded if trials else 0) + 1
    key = Batch.key(number)
    try:
        batch = Batch.load(key, store.get(key))
    except KeyError:
        members, parts = _pending(store, trials, notice)
        batch = Batch(number, datetime.now(UTC).isoformat(timespec="seconds"), members)
        if not members or store.create(key, batch.dump()):
            return batch, parts
        batch = Batch.load(key, store.get(key))
    keep = [r for r in _records(store, list(batch.members)) if isinstance(r, Record)]
    return batch, _rows(store, keep)


def _pending(
    store: Store, trials: State | None, notice: Notice
) -> tuple[dict[str, str], dict[str, list[pa.Table]]]:
    """Commits that ``trials`` does not have, as many as fit a batch, without damaged ones."""
    known = folded(store, trials) if trials is not None else {}
    waiting = [key for key in store.list(PREFIX) if key not in known and Commit.parse(key)]
    members: dict[str, str] = {}
    parts: dict[str, list[pa.Table]] = {}
    size = 0
    for start in range(0, min(len(waiting), MOST_COMMITS), 100):
        if size > MOST_BYTES:
            break
        for record in _records(store, waiting[start : start + 100]):
            try:
                if isinstance(record, DamagedError):
                    raise record
                mine = _rows(store, [record])
            except DamagedError as error:
                notice(f"{error}; left out, see `segprint tables check`")
                continue
            size += sum(part.size for part in record.parts.values())
            members[record.key] = record.attempt
            for name, tables in mine.items():
                parts.setdefault(name, []).extend(tables)
    return members, parts


def _records(store: Store, keys: list[str]) -> list[Record | DamagedError]:
    """Commit records, or what is wrong with them; deleted ones are left out."""
    return [load_record(key, value) for key, value in store.get_many(keys).items()]


def _rows(store: Store, records: Sequence[Record]) -> dict[str, list[pa.Table]]:
    """Every table's rows of some attempts.

    Raises:
        DamagedError: an object is missing or is not what was committed.
    """
    wanted = [part.key for record in records for part in record.parts.values()]
    objects = store.get_many(wanted)
    found: dict[str, list[pa.Table]] = {}
    for record in records:
        mine = record.about
        for name in reversed(TABLES):  # trials first: they say what older rows do not
            part = record.parts.get(name)
            if part is None:
                continue
            rows = decode(part, objects.get(part.key), record, mine)
            if name == "trials":
                mine = about(rows.to_pylist()[0])
            found.setdefault(name, []).append(rows)
    return found


def take(store: Store, name: str, batch: Batch, parts: dict[str, list[pa.Table]]) -> None:
    """Append a batch to one table, unless it is there already."""
    state = delta.load(store, name)
    if state is not None and state.folded >= batch.number:
        return
    rows = [_sorted(name, parts[name])] if name in parts else []
    delta.change(store, name, rows, folded=batch.number, follows=state)


def _sorted(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    whole = pa.concat_tables([SCHEMAS[name].empty_table(), *tables])
    return whole.sort_by([(column, "ascending") for column in SORTED])


def _bins(state: State) -> Iterator[list[delta.File]]:
    """Small files to merge, each time as many as fill one."""
    small = [file for file in state.files if file.size < TARGET_BYTES // 2]
    taken: list[delta.File] = []
    for file in small:
        taken.append(file)
        if sum(f.size for f in taken) >= TARGET_BYTES:
            yield taken
            taken = []
    if len(taken) > 1:
        yield taken

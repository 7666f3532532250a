"""Damage to a store: flipped bits, truncated objects, lost objects."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import batch_selection, compaction, compaction_log, delta_log
from orchestrator.tables.integrity import Check, Finding
from tests.faults.hands import commit, filled, marks


def key_of(store: Store, prefix: str, name: str = "") -> str:
    (key,) = (key for key in store.list(prefix) if name in key)
    return key


def flipped(value: bytes, position: int, bit: int) -> bytes:
    """With one bit turned over."""
    return value[:position] + bytes([value[position] ^ 1 << bit]) + value[position + 1 :]


def harm(store: Store, key: str, how: str = "flip") -> None:
    """Flip a bit in the middle of an object, cut its end off, or lose it."""
    value = store.get(key)
    if how == "gone":
        store.delete(key)
    else:
        store.put(key, value[:-1] if how == "cut" else flipped(value, len(value) // 2, 0))


def harms(store: Store, key: str, positions: Iterable[int]) -> Iterable[str]:
    """An object with a bit flipped at each of some positions, and healed at the end."""
    value, rng = store.get(key), random.Random(1)
    for position in positions:
        harmed = flipped(value, position, rng.randrange(8))
        store.put(key, harmed)
        yield f"{position}: {harmed[max(0, position - 20) : position + 9]!r}"
    store.put(key, value)


def rot(path: Path, position: int) -> None:
    """Flip a bit as a disk does it: the file's times stay."""
    about = path.stat()
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, position)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), position)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def log_of(name: str, version: int) -> str:
    return f"tables/{name}/_delta_log/{version:020}.json"


def half_compacted(store: Store) -> dict[str, int]:
    """The first attempt compacted, the second and third in all tables but ``trials``."""
    expected = filled(store, 1)
    for i in (1, 2):
        commit(Ledger(store), f"d{i}", i)
    begun = batch_selection.next_batch(store)
    assert begun is not None
    batch, rows = begun
    for name in compaction_log.TABLES[:-1]:
        compaction.append(store, name, batch, rows)
    return {**expected, "d1": 1, "d2": 2}


def damage(store: Store) -> list[Finding]:
    return [finding for finding in Check(store).run() if finding.kind == "damage"]


def misread(store: Store, expected: dict[str, int]) -> str:
    """What a reader gets that is not the committed rows; empty if it gets those, each once."""
    try:
        assert marks(store, damaged=True) == expected
    except Exception as error:
        return f"{type(error).__name__} {str(error)[:80]}"
    return ""


def assert_compacted(store: Store, count: int) -> None:
    """So many attempts are in the tables, and the next one will be."""
    state = delta_log.load(store, "trials")
    assert state is not None
    assert state.rows == count
    commit(Ledger(store), "next", 0)
    assert compaction.compact_committed(store) == 1

"""A trial that is trained again after its commit record was lost: the current record counts."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, retrained
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.unit.test_compaction import commit, seen

FIRST, SECOND = 2, 5
"""Rows of steps of the two attempts."""


@pytest.fixture(params=["local", "s3"])
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ledger:
    """A store with d1 and d2 compacted, whose record of d1 was lost, and d1 was trained again."""
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    url = str(tmp_path / "store")
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        url = f"s3://segprint-test/{tmp_path.name}"
    ledger = Ledger(Store(url))
    commit(ledger, "d1", rows=FIRST)
    commit(ledger, "d2", rows=3)
    compaction.compact_committed(ledger.store)
    ledger.store.delete("commits/d1.finished.json")
    commit(ledger, "d1", rows=SECOND)
    return ledger


EXPECTED = (["d1", "d2"], {"d1": SECOND, "d2": 3})


def damage(ledger: Ledger) -> list[str]:
    return [f.where for f in Check(ledger.store).run() if f.kind == "damage"]


def test_readers_show_the_attempt_that_the_record_names_before_and_after_a_compaction(
    ledger: Ledger,
) -> None:
    assert seen(ledger) == EXPECTED
    assert damage(ledger) == ["commits/d1.finished.json"]
    assert compaction.compact_committed(ledger.store) == 1
    assert compaction.compact_committed(ledger.store) == 0
    assert seen(ledger) == EXPECTED
    compaction.merge_small_files(ledger.store)
    assert seen(ledger) == EXPECTED


def test_a_rebuild_leaves_the_attempt_that_the_record_names(ledger: Ledger) -> None:
    assert compaction.rebuild(ledger.store) == 2
    assert seen(ledger) == EXPECTED
    assert damage(ledger) == []


def test_a_quarantined_second_attempt_does_not_bring_the_first_one_back(ledger: Ledger) -> None:
    (key,) = [k for k in ledger.store.list("trials/d1/") if "steps" in k and rows(ledger, k) > 2]
    ledger.store.put(key, b"damaged")
    walk = Check(ledger.store)
    list(walk.run())
    assert walk.quarantine() == ["commits/d1.finished.json"]
    assert seen(ledger) == (["d2"], {"d2": 3})


def rows(ledger: Ledger, key: str) -> int:
    return pq.read_metadata(io.BytesIO(ledger.store.get(key))).num_rows


@pytest.mark.parametrize("noted", [None, b"{", b'{"until": "2026-01-01T00:00:00"}'])
def test_a_compaction_compares_all_records_if_none_noted_how_far_it_came(
    ledger: Ledger, noted: bytes | None
) -> None:
    if noted is None:  # a store that an earlier Segprint compacted
        ledger.store.delete(retrained.KEY)
    else:
        ledger.store.put(retrained.KEY, noted)
    assert compaction.compact_committed(ledger.store) == 1
    assert seen(ledger) == EXPECTED


def test_a_copy_whose_files_all_have_new_times_is_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    ledger = Ledger(Store(str(tmp_path / "store")))
    commit(ledger, "d1", rows=FIRST)
    compaction.compact_committed(ledger.store)
    ledger.store.delete("commits/d1.finished.json")
    commit(ledger, "d1", rows=SECOND)
    commit(ledger, "d2")
    copy = Ledger(Store(str(tmp_path / "copy")))
    shutil.copytree(ledger.store.url, copy.store.url, copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*.json"):
        os.utime(path)
    assert seen(copy) == EXPECTED


def test_an_old_record_of_a_compacted_attempt_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    store = Store(str(tmp_path / "store"))
    for i in range(3):
        commit(Ledger(store), f"d{i}")
    os.utime(tmp_path / "store" / "commits" / "d0.finished.json", (1e9, 1e9))
    compaction.compact_committed(store)
    compacted = dict.fromkeys(store.list("commits/"), "another attempt")
    found = retrained.retrained(store, compacted, store.entries("commits/"))
    assert [*found] == ["commits/d1.finished.json", "commits/d2.finished.json"]
    assert Snapshot(store).table("trials").num_rows == 3

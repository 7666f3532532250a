"""What is damaged is named with a cure that works, and nothing that is whole is touched."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.commits import DamagedError, Record
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.storage.object_store import Store, StoreError
from orchestrator.tables import batch_selection, compaction, delta_log, log_seal, vacuum
from orchestrator.tables.compaction_log import Batch
from orchestrator.tables.integrity import Check, Finding
from orchestrator.tables.snapshot import Snapshot
from tests.unit.test_compaction import commit, seen
from trainables.checkpoint import Checkpoint


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    return Ledger(Store(str(tmp_path / "store")))


def record(ledger: Ledger, digest: str) -> Record:
    key = f"commits/{digest}.finished.json"
    return Record.load(key, ledger.store.get(key))


def break_part(ledger: Ledger, digest: str, table: str = "steps") -> None:
    ledger.store.put(record(ledger, digest).tables[table].key, b"not what was written")


def damage(ledger: Ledger) -> list[Finding]:
    return [f for f in Check(ledger.store).run() if f.kind == "damage"]


def age(ledger: Ledger) -> None:
    """Make every object two years old."""
    for entry in ledger.store.entries(""):
        path = ledger.store.local_path(entry.key)
        assert path is not None
        os.utime(path, (1e9, 1e9))


def test_a_whole_store_has_no_finding(ledger: Ledger) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    commit(ledger, "d2")
    assert list(Check(ledger.store).run()) == list(Check(ledger.store, quick=True).run()) == []


def test_a_damaged_commit_is_set_aside_and_trained_again(ledger: Ledger) -> None:
    for digest in ("d1", "d2"):
        commit(ledger, digest)
    break_part(ledger, "d1")
    walk = Check(ledger.store)
    (found,) = walk.run()
    assert found.where == "commits/d1.finished.json"
    assert "--quarantine" in found.cure
    assert compaction.compact_committed(ledger.store) == 1, "the rest is compacted"
    walk = Check(ledger.store)
    list(walk.run())
    assert walk.quarantine() == ["commits/d1.finished.json"]
    assert ledger.done("d1") is None
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})
    assert damage(ledger) == []


def test_a_commit_that_was_made_again_since_the_walk_is_not_set_aside(ledger: Ledger) -> None:
    commit(ledger, "d1")
    break_part(ledger, "d1")
    first, second = Check(ledger.store), Check(ledger.store)
    list(first.run())
    list(second.run())
    assert first.quarantine() == ["commits/d1.finished.json"]
    commit(ledger, "d1")
    assert second.quarantine() == []
    assert damage(ledger) == []


def test_what_only_the_compacted_tables_still_have_is_not_thrown_away(
    ledger: Ledger, inline: Any
) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    break_part(ledger, "d1")
    walk = Check(ledger.store)
    (found,) = walk.run()
    assert "the compacted tables have its rows" in found.cure
    assert walk.quarantine() == []
    said = inline("--store", ledger.store.url, "tables", "rebuild")
    assert said.returncode == 2
    assert "--force" in said.stderr
    assert seen(ledger) == (["d1"], {"d1": 3})


def test_a_record_of_a_newer_segprint_is_no_damage(ledger: Ledger) -> None:
    commit(ledger, "d1")
    plain = json.loads(record(ledger, "d1").dump())
    newer = Record(
        key="commits/d1.finished.json",
        digest="d1",
        attempt=plain["attempt"],
        outcome="finished",
        schema=99,
        committed_at="",
        labels={},
        tables={},
    )
    ledger.store.put(newer.key, newer.dump())
    walk = Check(ledger.store)
    (note, *_) = walk.run()
    assert (note.kind, note.cure) == ("note", "update Segprint")
    assert walk.quarantine() == []
    age(ledger)
    with pytest.raises(DamagedError, match="update it"):
        list(vacuum.garbage(ledger, timedelta(0)))


def test_a_batch_begun_with_a_commit_that_is_damaged_since_goes_on_without_it(
    ledger: Ledger,
) -> None:
    for digest in ("d1", "d2"):
        commit(ledger, digest)
    batch_selection.next_batch(ledger.store)
    break_part(ledger, "d1")
    assert compaction.compact_committed(ledger.store) == 1
    assert Snapshot(ledger.store).table("trials").num_rows == 2, "its trials part is whole"


def test_a_batch_half_in_the_tables_names_the_cure_and_the_cure_works(ledger: Ledger) -> None:
    for digest in ("d1", "d2"):
        commit(ledger, digest)
    found = batch_selection.next_batch(ledger.store)
    assert found is not None
    batch, rows = found
    for name in ("steps", "cases"):
        compaction.append(ledger.store, name, batch, rows)
    break_part(ledger, "d1")
    with pytest.raises(DamagedError, match=r"--quarantine`, then `segprint tables rebuild"):
        compaction.compact_committed(ledger.store)
    walk = Check(ledger.store)
    list(walk.run())
    assert walk.quarantine() == ["commits/d1.finished.json"]
    commit(ledger, "d1", rows=2)
    assert seen(ledger) == (["d1", "d2"], {"d1": 2, "d2": 3})
    assert compaction.rebuild(ledger.store) == 2
    assert seen(ledger) == (["d1", "d2"], {"d1": 2, "d2": 3})
    assert damage(ledger) == []


def test_lost_and_unreadable_batches_cost_a_version_and_no_row(ledger: Ledger) -> None:
    for i in range(4):
        commit(ledger, f"d{i}")
        compaction.compact_committed(ledger.store)
    expected = seen(ledger)
    ledger.store.delete(Batch.key(2))
    ledger.store.put(Batch.key(3), b"{")
    assert any("the batch is damaged" in f.what for f in damage(ledger))
    for _ in range(2):
        compaction.rebuild(ledger.store)
        assert seen(ledger) == expected
    assert damage(ledger) == []


def test_a_flipped_byte_in_a_folded_file_is_read_around_and_named(ledger: Ledger) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    expected = Snapshot(ledger.store).table("steps").to_pylist()
    state = delta_log.load(ledger.store, "steps")
    assert state is not None
    (file,) = state.files
    value = bytearray(ledger.store.get(file.key))
    value[len(value) // 3] ^= 1
    ledger.store.put(file.key, bytes(value))
    snapshot = Snapshot(ledger.store)
    assert snapshot.table("steps").to_pylist() == expected
    assert file.key in snapshot.problems[0]
    assert [f.where for f in damage(ledger)] == [file.key]
    compaction.rebuild(ledger.store)
    assert damage(ledger) == []


def test_a_seal_that_comes_after_the_log_was_made_anew_says_nothing_of_it(ledger: Ledger) -> None:
    for i in range(3):
        commit(ledger, f"d{i}")
        compaction.compact_committed(ledger.store)
    compaction.merge_small_files(ledger.store)
    expected, late = seen(ledger), ledger.store.get(log_seal.key("steps"))
    compaction.rebuild(ledger.store)
    ledger.store.put(log_seal.key("steps"), late)
    assert seen(ledger) == expected
    assert damage(ledger) == []


def test_gc_drops_what_was_never_committed_and_nothing_else(ledger: Ledger) -> None:
    commit(ledger, "d1")
    commit(ledger, "d1")  # a late duplicate
    commit(ledger, "d2", "failed")
    sink = LedgerSink(ledger, "code")
    for digest in ("d1", "d9"):  # d1 was left behind, and nobody asks for d9
        sink.keep(digest, Checkpoint({}, {"digest": digest, "step": 1, "tally": {}}))
    for _ in range(2):
        compaction.compact_committed(ledger.store)
        commit(ledger, "d3")
    compaction.compact_committed(ledger.store)
    compaction.merge_small_files(ledger.store)
    unfinished = ledger.store.local_path("trials/d3/.tmp-0")
    assert unfinished is not None
    unfinished.write_bytes(b"cut off")
    expected = seen(ledger)
    assert {item.key for item in vacuum.garbage(ledger, timedelta(days=7))} == {
        "checkpoints/d1.pt",
        "leases/d1.json",
    }, "what is young stays"
    age(ledger)
    os.utime(unfinished, (1e9, 1e9))
    for item in vacuum.garbage(ledger, timedelta(days=7)):
        ledger.store.delete(item.key)
    assert seen(ledger) == expected
    assert list(Check(ledger.store).run()) == []
    assert ledger.store.list("checkpoints/") == []
    assert not unfinished.exists()
    assert list(vacuum.garbage(ledger, timedelta(0))) == []


def test_a_store_that_cannot_be_listed_is_not_an_empty_one(ledger: Ledger) -> None:
    commit(ledger, "d1")
    commits = ledger.store.local_path("commits")
    assert commits is not None
    commits.rename(commits.with_name("elsewhere"))
    age(ledger)
    with pytest.raises(DamagedError, match="is this the whole store"):
        list(vacuum.garbage(ledger, timedelta(0)))
    commits.write_text("a file where the folder was")
    with pytest.raises(StoreError, match="cannot list commits/"):
        ledger.commits()


@pytest.mark.parametrize("hashed", [True, False])
def test_a_lost_record_of_a_compacted_attempt_is_named_spared_and_restored(
    ledger: Ledger, inline: Any, hashed: bool
) -> None:
    for digest in ("d1", "d2"):
        commit(ledger, digest)
    compaction.compact_committed(ledger.store)
    (key,) = ledger.store.list("tables/batches/")
    if not hashed:  # as earlier versions wrote it
        batch = Batch.load(key, ledger.store.get(key))
        ledger.store.put(key, Batch(batch.number, batch.at, batch.members).dump())
    before = record(ledger, "d1")
    ledger.store.delete(before.key)
    age(ledger)

    snapshot = Snapshot(ledger.store)
    assert sorted(snapshot.table("trials")["digest"].to_pylist()) == ["d1", "d2"]
    assert [p for p in snapshot.problems if before.key in p and "--restore" in p]
    (found,) = damage(ledger)
    assert (found.where, "--restore" in found.cure) == (before.key, True)
    assert not [g for g in vacuum.garbage(ledger, timedelta(0)) if g.key.startswith("trials/")]
    assert inline("--store", ledger.store.url, "tables", "rebuild").returncode == 2

    walk = Check(ledger.store)
    list(walk.run())
    assert [*walk.restore()] == [before.key]
    assert record(ledger, "d1").tables == before.tables
    assert record(ledger, "d1").labels == before.labels
    assert damage(ledger) == []
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})


def test_a_record_is_not_restored_from_other_objects_than_were_committed(
    ledger: Ledger, inline: Any
) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    lost = record(ledger, "d1")
    ledger.store.delete(lost.key)
    ledger.store.delete(lost.tables["steps"].key)
    said = inline("--store", ledger.store.url, "tables", "check", "--restore")
    assert said.returncode == 1
    assert f"not restored: {lost.key}: the objects of {lost.attempt} are not all" in said.stderr
    assert ledger.store.list("commits/") == []
    assert Snapshot(ledger.store).table("steps").num_rows == 3, "the tables still have them"


def test_a_lost_record_of_a_batch_that_no_table_has_is_restored_and_compacted_once(
    ledger: Ledger,
) -> None:
    for digest in ("d1", "d2"):
        commit(ledger, digest)
    assert batch_selection.next_batch(ledger.store) is not None
    ledger.store.delete("commits/d1.finished.json")
    assert [f.where for f in damage(ledger)] == ["commits/d1.finished.json"]
    compaction.compact_committed(ledger.store)
    walk = Check(ledger.store)
    list(walk.run())
    assert [*walk.restore()] == ["commits/d1.finished.json"]
    compaction.compact_committed(ledger.store)
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})
    assert damage(ledger) == []

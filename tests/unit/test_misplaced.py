"""Records, batches and declarations under a wrong name or gone: no row is doubled or hidden."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, vacuum
from orchestrator.tables.compaction_log import Batch
from orchestrator.tables.deletion import delete
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.unit.test_compaction import commit, seen

D1, D2 = "commits/d1.finished.json", "commits/d2.finished.json"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    ledger = Ledger(Store(str(tmp_path / "store")))
    commit(ledger, "d1")
    commit(ledger, "d2")
    return ledger


def digests(ledger: Ledger) -> tuple[list[str], str]:
    """The digests of the rows in ``trials``, and the problems that reading them names."""
    snapshot = Snapshot(ledger.store)
    rows = [str(digest) for digest in snapshot.table("trials")["digest"].to_pylist()]
    return sorted(rows), " ".join(snapshot.problems)


def collect_old_garbage(ledger: Ledger) -> None:
    for entry in ledger.store.entries(""):
        os.utime(Path(ledger.store.url, entry.key), (1e9, 1e9))
    vacuum.collect(ledger, timedelta(0))


def versions(ledger: Ledger, count: int) -> list[list[str]]:
    snapshots = [Snapshot(ledger.store, n + 1) for n in range(count)]
    columns = [s.table("trials")["digest"].to_pylist() for s in snapshots]
    return [sorted(map(str, column)) for column in columns]


@pytest.mark.parametrize("copy", [D2, "commits/d3.finished.json", "commits/D1.finished.json"])
def test_a_record_under_the_key_of_another_commit_doubles_no_row(ledger: Ledger, copy: str) -> None:
    ledger.store.put(copy, ledger.store.get(D1))
    rows, problems = digests(ledger)
    assert rows == (["d1"] if copy == D2 else ["d1", "d2"])
    assert f"{copy}: it holds d1 finished" in problems


def test_a_record_under_another_key_costs_no_row_that_the_tables_have(ledger: Ledger) -> None:
    compaction.compact_committed(ledger.store)
    ledger.store.put(D2, ledger.store.get(D1))
    assert digests(ledger)[0] == ["d1", "d2"]
    (finding,) = [f for f in Check(ledger.store).run() if f.kind == "damage"]
    assert finding.where == D2
    compaction.compact_committed(ledger.store)
    assert digests(ledger)[0] == ["d1", "d2"]


@pytest.mark.parametrize("name", ["d1.finished (copy).json", "d3.finished.json"])
def test_a_renamed_record_is_named_and_its_objects_are_spared(ledger: Ledger, name: str) -> None:
    value = ledger.store.get(D1)
    ledger.store.delete(D1)
    ledger.store.put(f"commits/{name}", value)
    rows, problems = digests(ledger)
    assert rows == ["d2"]
    assert f"commits/{name}" in problems
    collect_old_garbage(ledger)
    ledger.store.delete(f"commits/{name}")
    ledger.store.put(D1, value)
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})


def test_a_record_that_is_lost_after_it_replaced_a_quarantined_one_is_missed(
    ledger: Ledger,
) -> None:
    ledger.store.put(D1, b"{")
    walk = Check(ledger.store)
    list(walk.run())
    assert walk.quarantine() == [D1]
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    ledger.store.delete(D1)
    rows, problems = digests(ledger)
    assert rows == ["d1", "d2"]
    assert f"{D1}: the commit record is lost" in problems
    collect_old_garbage(ledger)
    walk = Check(ledger.store)
    list(walk.run())
    walk.restore()
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})


def test_a_version_whose_batches_are_lost_is_refused_and_a_rebuild_fills_the_gap(
    ledger: Ledger,
) -> None:
    compaction.compact_committed(ledger.store)
    for digest in ("d3", "d4"):
        commit(ledger, digest)
        compaction.compact_committed(ledger.store)
    expected = [["d1", "d2"], ["d1", "d2", "d3"], ["d1", "d2", "d3", "d4"]]
    assert versions(ledger, 3) == expected
    ledger.store.delete(Batch.key(2))
    assert versions(ledger, 1) == expected[:1]
    for number in (2, 3):
        with pytest.raises(ValueError, match=f"version {number} is unknown: .*00000002.json"):
            Snapshot(ledger.store, number)
    assert [f.where for f in Check(ledger.store).run()] == [Batch.key(2)]
    compaction.rebuild(ledger.store)
    assert versions(ledger, 3) == expected
    assert list(Check(ledger.store).run()) == []


def test_a_version_never_shows_an_attempt_that_was_trained_after_it(ledger: Ledger) -> None:
    compaction.compact_committed(ledger.store)
    ledger.store.delete(D1)
    commit(ledger, "d1", rows=5)
    for attempts in (1, 0):  # before and after the new attempt is compacted
        snapshot = Snapshot(ledger.store, 1)
        assert snapshot.table("steps")["digest"].to_pylist() == ["d2"] * 3
        assert f"{D1}: its trial was trained again since version 1" in " ".join(snapshot.problems)
        assert compaction.compact_committed(ledger.store) == attempts
    assert versions(ledger, 2)[1] == ["d1", "d2"]


def test_a_batch_under_the_number_of_another_is_damage(ledger: Ledger) -> None:
    compaction.compact_committed(ledger.store)
    commit(ledger, "d3")
    compaction.compact_committed(ledger.store)
    ledger.store.put(Batch.key(2), ledger.store.get(Batch.key(1)))
    assert "it is batch 1" in " ".join(f.what for f in Check(ledger.store).run())


def test_a_damaged_declaration_that_was_copied_is_declared_again(ledger: Ledger) -> None:
    slot = Declared("s", "r1", "cell", "final", 0, "d1")
    ledger.store.put(slot.key, b'{"arm": "a", ')
    ledger.studies.compact()
    ledger.store.delete(slot.key)
    ledger.studies.declare(slot, {"arm": "a", "config": {}, "values": {}})
    ledger.studies.compact()
    assert ledger.studies.undamaged([slot])[slot.key]["arm"] == "a"


@pytest.mark.parametrize("other", ["cell/final-0001-d1", "other/final-0000-d1"])
def test_a_declaration_under_the_key_of_another_slot_is_named_and_left_out(
    ledger: Ledger, other: str
) -> None:
    slot = Declared("s", "r1", "cell", "final", 0, "d1")
    ledger.studies.declare(slot, {"arm": "a", "config": {}, "values": {}})
    moved = Declared.parse(f"studies/s/r1/{other}.json")
    assert moved is not None
    ledger.store.put(moved.key, ledger.store.get(slot.key))
    assert ledger.studies.undamaged([slot, moved]) == ledger.studies.declarations([slot])
    with pytest.raises(ValueError, match=f"{moved.key} in the store declares cell/final-0000-d1"):
        ledger.studies.declarations([moved])
    (finding,) = [f for f in Check(ledger.store).run() if f.kind == "damage"]
    assert finding.where == moved.key


class KilledError(Exception):
    pass


def test_a_killed_deletion_of_a_study_leaves_no_part_of_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    studies = ledger.studies
    for i in range(3):
        slot = Declared("s", "r1", "cell", "final", i, f"d{i}")
        studies.declare(slot, {"arm": "a", "config": {}, "values": {}})
    studies.describe("s", {"question": "?", "arms": ["a"], "revision": "r1"})
    deleted: list[str] = []
    delete = Store.delete

    def killed(store: Store, key: str) -> None:
        if len(deleted) == 2:
            raise KilledError
        deleted.append(key)
        delete(store, key)

    monkeypatch.setattr(Store, "delete", killed)
    with pytest.raises(KilledError):
        studies.forget("s")
    assert studies.current() == []
    assert "studies/s/space.json is gone" in caplog.text
    with pytest.raises(ValueError, match="space.json is gone: the study must first be swept"):
        studies.current(strict=True)  # gc would delete what its trials need
    assert "s" in studies.names(), "it can be deleted again"
    monkeypatch.undo()
    studies.forget("s")
    assert studies.names() == ledger.store.list("studies/") == []


def test_a_loss_is_missed_although_the_compaction_before_it_was_killed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(ledger, "again", rows=2)
    compaction.compact_committed(ledger.store)
    delete(ledger, ["again"], 75, print)
    commit(ledger, "again", rows=4)

    with monkeypatch.context() as patch:  # after the last table, before the next batch is sought
        append = compaction.append

        def append_and_die(store: Store, name: str, *rest: Any) -> None:
            append(store, name, *rest)
            if name == "trials":
                raise KeyboardInterrupt

        patch.setattr(compaction, "append", append_and_die)
        with pytest.raises(KeyboardInterrupt):
            compaction.compact_committed(ledger.store)
    ledger.store.delete("commits/again.finished.json")
    snapshot = Snapshot(ledger.store)
    assert "again" in snapshot.table("trials")["digest"].to_pylist()
    assert snapshot.table("steps")["digest"].to_pylist().count("again") == 4
    assert "again.finished.json: the commit record is lost" in snapshot.problems[0]
    assert [f.where for f in Check(ledger.store).run()] == ["commits/again.finished.json"]

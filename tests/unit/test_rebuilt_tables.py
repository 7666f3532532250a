"""Tables that are made again from the records of their trials."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.ledger.commits import DamagedError
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import (
    compaction,
    deletion,
    delta_log,
    log_seal,
)
from orchestrator.tables.compaction_log import batches
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.rows import commit, seen


def test_tables_are_made_again_from_the_records_with_the_same_versions(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    for i in range(3):
        commit(ledger, f"d{i}")
        compaction.compact_committed(ledger.store)
    expected = seen(ledger)
    for key in ledger.store.list("tables/"):
        if "/_delta_log/" in key:
            ledger.store.delete(key)
    assert compaction.rebuild(ledger.store) == 3
    assert seen(ledger) == expected
    assert [list(b.members) for b in batches(ledger.store)] == [
        [f"commits/d{i}.finished.json"] for i in range(3)
    ]
    assert Snapshot(ledger.store, version=2).table("trials").num_rows == 2


def test_the_version_of_a_deleted_trial_keeps_its_number_in_a_rebuild(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    deletion.delete(ledger, ["d1"], 60.0, lambda _: None)
    compaction.rebuild(ledger.store)
    commit(ledger, "d2")
    compaction.compact_committed(ledger.store)
    rows = [Snapshot(ledger.store, version=v).table("trials").num_rows for v in (1, 2)]
    assert rows == [0, 1]


def test_a_rebuild_that_died_is_completed_without_the_rows_of_a_deleted_trial(
    tmp_path: Path,
) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    for digest in ("d1", "d2"):
        commit(ledger, digest)
    compaction.compact_committed(ledger.store)
    deletion.delete(ledger, ["d1"], 60.0, lambda _: None)
    delta_log.drop(ledger.store, "trials")
    assert compaction.compact_committed(ledger.store) == 1
    commit(ledger, "d1", rows=2)
    assert compaction.compact_committed(ledger.store) == 1
    assert seen(ledger) == (["d1", "d2"], {"d1": 2, "d2": 3})
    assert compaction.rebuild(ledger.store) == 2
    assert seen(ledger) == (["d1", "d2"], {"d1": 2, "d2": 3})
    assert [f for f in Check(ledger.store).run() if f.kind == "damage"] == []


@pytest.mark.parametrize("left", [0, 1])
def test_a_table_that_lost_a_batch_takes_no_later_one(tmp_path: Path, left: int) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    ledger.store.delete(log_seal.key("steps"))
    for key in ledger.store.list("tables/steps/_delta_log/")[left:]:
        ledger.store.delete(key)
    commit(ledger, "d2")
    with pytest.raises(DamagedError, match=r"tables/steps has not all .* tables rebuild"):
        compaction.compact_committed(ledger.store)
    snapshot = Snapshot(ledger.store)
    assert Counter(snapshot.table("steps")["digest"].to_pylist()) == {"d1": 3, "d2": 3}
    assert snapshot.problems != []
    assert compaction.rebuild(ledger.store) == 2
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})


def test_a_rebuild_that_dies_while_it_deletes_leaves_nothing_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiedError(BaseException):
        """The process is killed."""

    def died(store: Store, after: int) -> bool:
        count, delete = itertools.count(), Store.delete

        def deadly(self: Store, key: str) -> None:
            if next(count) == after:
                raise DiedError
            delete(self, key)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "delete", deadly)
            try:
                delta_log.drop(store, "trials")
                delta_log.drop(store, "steps")
            except DiedError:
                return True
        return False

    ledger = Ledger(Store(str(tmp_path / "whole")))
    for i in range(2):
        commit(ledger, f"d{i}")
        compaction.compact_committed(ledger.store)
    compaction.merge_small_files(ledger.store)
    for name in ("trials", "steps"):
        for entry in delta_log.unreferenced(ledger.store, name):
            ledger.store.delete(entry.key)
    expected = seen(ledger)
    for after in itertools.count():
        store = Store(str(shutil.copytree(tmp_path / "whole", tmp_path / f"{after}")))
        if not died(store, after):
            break
        assert seen(Ledger(store)) == expected, after
        compaction.compact_committed(store)
        assert delta_log.load(store, "trials") is not None
        assert seen(Ledger(store)) == expected, after
        assert [f for f in Check(store).run() if f.kind == "damage"] == []
    assert after > 8

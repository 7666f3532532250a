"""Compaction changes where rows are, never which rows there are."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.analyses import open_store
from orchestrator.ledger import signs_of_life
from orchestrator.ledger.commits import Record
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.storage.object_store import Store
from orchestrator.tables import (
    batch_selection,
    committer_lease,
    compaction,
    compaction_log,
    delta_commit,
    delta_log,
    snapshot,
)
from orchestrator.tables.compaction_log import batches
from orchestrator.tables.snapshot import Snapshot
from tests.rows import commit, seen
from trainables.schemas import SCHEMAS


@pytest.fixture(params=["local", "s3"])
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        yield Ledger(Store(f"s3://segprint-test/{tmp_path.name}"))
    else:
        yield Ledger(Store(str(tmp_path / "store")))


def test_compacted_recent_and_mixed_rows_read_the_same(ledger: Ledger) -> None:
    for i in range(3):
        commit(ledger, f"d{i}")
    live = seen(ledger)
    assert compaction.compact_committed(ledger.store) == 3
    assert seen(ledger) == live
    commit(ledger, "d3")
    mixed = seen(ledger)
    assert mixed == ([f"d{i}" for i in range(4)], {f"d{i}": 3 for i in range(4)})
    assert compaction.compact_committed(ledger.store) == 1
    assert compaction.compact_committed(ledger.store) == 0
    assert seen(ledger) == mixed
    for name, schema in SCHEMAS.items():
        assert Snapshot(ledger.store).table(name).schema == schema


def test_merging_small_files_sorts_and_changes_no_row(ledger: Ledger) -> None:
    for i in (3, 1, 2):
        commit(ledger, f"d{i}")
        compaction.compact_committed(ledger.store)
    before = seen(ledger)
    assert compaction.merge_small_files(ledger.store)["steps"] == (3, 1)
    assert seen(ledger) == before
    state = delta_log.load(ledger.store, "steps")
    assert state is not None
    tasks = Snapshot(ledger.store).table("steps")["task"].to_pylist()
    assert tasks == sorted(tasks)
    assert compaction.merge_small_files(ledger.store) == {}


def test_a_better_outcome_replaces_a_compacted_one(ledger: Ledger) -> None:
    commit(ledger, "d1", "failed", rows=1)
    compaction.compact_committed(ledger.store)
    commit(ledger, "d1", "finished", rows=2)
    assert seen(ledger) == (["d1"], {"d1": 2})
    compaction.compact_committed(ledger.store)
    assert seen(ledger) == (["d1"], {"d1": 2})
    assert Snapshot(ledger.store).table("trials")["outcome"].to_pylist() == ["finished"]


def test_a_version_shows_what_was_compacted_by_then(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match=r"version 1 is none of the store's \(choices: none bef"):
        Snapshot(ledger.store, version=1)
    commit(ledger, "d1", "failed")
    compaction.compact_committed(ledger.store)
    commit(ledger, "d1")
    commit(ledger, "d2")
    compaction.compact_committed(ledger.store)
    commit(ledger, "d3")
    compaction.merge_small_files(ledger.store)
    then = Snapshot(ledger.store, version=1)
    assert then.table("trials")["outcome"].to_pylist() == ["failed"]
    assert then.table("steps").num_rows == 3
    assert sorted(Snapshot(ledger.store, version=2).table("trials")["digest"].to_pylist()) == [
        "d1",
        "d2",
    ]
    with pytest.raises(ValueError, match=r"version 3 is none of the store's \(choices: 1..2\)"):
        Snapshot(ledger.store, version=3)


@pytest.mark.parametrize("stopped_after", range(len(SCHEMAS)))
def test_a_compaction_that_died_between_two_tables_is_completed_once(
    tmp_path: Path, stopped_after: int
) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    commit(ledger, "d2")
    expected = seen(ledger)
    found = batch_selection.next_batch(ledger.store)
    assert found is not None
    batch, parts = found
    for name in compaction_log.TABLES[:stopped_after]:
        compaction.append(ledger.store, name, batch, parts)
    assert seen(ledger) == expected
    commit(ledger, "d3")
    assert compaction.compact_committed(ledger.store) == 2
    assert seen(ledger) == (["d1", "d2", "d3"], {"d1": 3, "d2": 3, "d3": 3})
    assert [len(b.members) for b in batches(ledger.store)] == [1, 1, 1]


def test_committers_that_ignore_the_lease_compact_everything_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    ledger = Ledger(store)
    for i in range(8):
        commit(ledger, f"d{i}")
    expected = seen(ledger)
    start = threading.Barrier(4)

    def committer() -> None:
        start.wait()
        while True:
            try:
                found = batch_selection.next_batch(store)
                if found is None:
                    return
                batch, parts = found
                for name in compaction_log.TABLES:
                    compaction.append(store, name, batch, parts)
            except delta_commit.ConflictError:
                continue

    threads = [threading.Thread(target=committer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen(ledger) == expected
    state = delta_log.load(store, "steps")
    assert state is not None
    assert state.rows == 24


@pytest.mark.parametrize("compacted", [0, 2])
def test_rows_of_many_attempts_are_read_in_place_like_those_of_a_few(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, compacted: int
) -> None:
    for i in range(compacted):
        commit(ledger, f"c{i}")
    compaction.compact_committed(ledger.store)
    for i in range(4):
        commit(ledger, f"d{i}", rows=i)
    key = "commits/d3.finished.json"
    record = Record.load(key, ledger.store.get(key))
    order = [("digest", "ascending"), ("step", "ascending")]
    expected, rows = seen(ledger), Snapshot(ledger.store).table("steps").sort_by(order)
    monkeypatch.setattr(snapshot, "MANY_IN_PLACE", 1)
    assert seen(ledger) == expected
    assert Snapshot(ledger.store).table("steps").sort_by(order).equals(rows)
    chosen = Snapshot(ledger.store).table("steps", ["d2", "d3"])["digest"].to_pylist()
    assert sorted(map(str, chosen)) == ["d2"] * 2 + ["d3"] * 3
    count = open_store(ledger.store.url).sql("SELECT count(*) AS n FROM steps").to_pylist()
    assert count == [{"n": rows.num_rows}]
    damaged = record.tables["steps"].key
    ledger.store.put(damaged, ledger.store.get(damaged)[:-1] + b"?")
    reader = Snapshot(ledger.store)
    assert "d3" not in reader.table("steps")["digest"].to_pylist()
    assert damaged in " ".join(reader.problems)


def test_a_second_committer_is_told_who_holds_the_lease(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    with (
        committer_lease.committer(store),
        pytest.raises(committer_lease.BusyError, match=r"is compacting this store"),
    ):
        compaction.compact_committed(store)
    assert compaction.compact_committed(store) == 0


def test_other_readers_of_delta_see_the_same_rows(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    for i in range(3):
        commit(ledger, f"d{i}")
        compaction.compact_committed(ledger.store)
    compaction.merge_small_files(ledger.store)
    place = str(tmp_path / "store" / "tables" / "steps")
    assert deltalake.DeltaTable(place).to_pyarrow_table().num_rows == 9
    assert pl.read_delta(place).group_by("digest").len()["len"].to_list() == [3, 3, 3]


def test_rows_of_older_schemas_read_and_compact_as_todays(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    old = {
        "trials": pa.table({"digest": ["d0"], "attempt": ["a"], "task": ["t"], "model": ["m"],
                            "outcome": ["finished"], "peak_memory_bytes": [7]}),
        "cases": pa.table({"digest": ["d0"], "attempt": ["a"], "case": ["c"], "tp": [1]}),
    }  # fmt: skip
    parts: dict[str, Any] = {}
    for name, table in old.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        value = sink.getvalue().to_pybytes()
        key = f"trials/d0/a/{name}.parquet"
        ledger.store.put(key, value)
        sha256 = __import__("hashlib").sha256(value).hexdigest()
        parts[name] = {"key": key, "sha256": sha256, "rows": 1}
    record = {"digest": "d0", "attempt": "a", "outcome": "finished", "schema": 1,
              "committed_at": "2026-01-01", "tables": parts}  # fmt: skip
    ledger.store.put("commits/d0.finished.json", json.dumps(record).encode())
    for _ in ("recent", "compacted"):
        snapshot = Snapshot(ledger.store)
        (case,) = snapshot.table("cases").to_pylist()
        assert (case["task"], case["model"], case["reading"], case["tp"]) == ("t", "m", "sample", 1)
        assert snapshot.table("trials")["peak_host_bytes"].to_pylist() == [7]
        assert snapshot.problems == []
        compaction.compact_committed(ledger.store)


def test_a_new_column_is_null_in_old_rows_and_a_changed_type_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(Store(str(tmp_path / "store")))
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    wider = SCHEMAS["steps"].append(pa.field("gradient_norm", pa.float64()))
    monkeypatch.setitem(SCHEMAS, "steps", wider)
    assert Snapshot(ledger.store).table("steps")["gradient_norm"].null_count == 3
    ledger.commit(
        "d2",
        "finished",
        {"trials": [{"outcome": "finished"}], "steps": [{"step": 0, "gradient_norm": 2.0}]},
    )
    compaction.compact_committed(ledger.store)
    values = Snapshot(ledger.store).table("steps")["gradient_norm"].to_pylist()
    assert sorted(values, key=str) == [2.0, None, None, None]
    place = str(tmp_path / "store" / "tables" / "steps")
    assert pl.read_delta(place)["gradient_norm"].null_count() == 3

    changed = SCHEMAS["steps"].set(6, pa.field("step", pa.string()))
    monkeypatch.setitem(SCHEMAS, "steps", changed)
    ledger.commit("d3", "finished", {"trials": [{"outcome": "finished"}], "steps": [{"step": "0"}]})
    with pytest.raises(ValueError, match=r"steps.step is string here and int64 in the store"):
        compaction.compact_committed(ledger.store)


def test_a_value_of_another_type_is_refused_at_write(ledger: Ledger) -> None:
    tables = {"trials": [{"outcome": "finished"}], "steps": [{"step": "ten"}]}
    with pytest.raises(ValueError, match=r"steps.step must be int64: .*ten"):
        ledger.commit("d1", "finished", tables)
    assert ledger.store.list("trials/") == ledger.store.list("commits/") == []


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_living_committer_whose_clock_is_wrong_is_not_thrown_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    store, passed = Store(str(tmp_path / "store")), 0.0

    def renew() -> None:
        content = {"who": "far", "at": time.time() + skew + passed}
        store.put(committer_lease.KEY, json.dumps(content).encode())

    def pause(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        if 15 < passed < 17:  # it renews its lease every 15 seconds
            renew()

    monkeypatch.setattr(signs_of_life, "now", lambda: passed)
    monkeypatch.setattr(signs_of_life, "pause", pause)
    renew()
    with pytest.raises(committer_lease.BusyError, match="far is compacting"):
        compaction.compact_committed(store)
    assert compaction.compact_committed(store) == 0, "it is gone: nothing changed for two minutes"
    assert passed > committer_lease.LEASE_SECONDS


def test_a_committer_that_died_on_this_machine_holds_nobody_up(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    dead = dataclasses.replace(ProcessIdentity.current(), born="0")
    lease = committer_lease.CommitterLease("dead", time.time(), dead)
    store.put(committer_lease.KEY, lease.dump())
    assert compaction.compact_committed(store) == 0

"""Two copies of a store that both went on and were merged: each row once, or the damage named."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, delta_log, log_seal
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.unit.test_compaction import commit, seen


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    return Ledger(Store(str(tmp_path / "store")))


def rows(ledger: Ledger) -> tuple[dict[str, int], dict[str, int], list[str]]:
    """How often each digest is in ``trials``, its number of steps, and the problems named."""
    snapshot = Snapshot(ledger.store)
    trials = Counter(snapshot.table("trials")["digest"].to_pylist())
    steps = Counter(snapshot.table("steps")["digest"].to_pylist())
    return dict(trials), dict(steps), snapshot.problems


@pytest.mark.parametrize("onto_the_longer", [True, False])
def test_merged_copies_that_were_both_folded_show_each_row_once(
    ledger: Ledger, tmp_path: Path, onto_the_longer: bool
) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    commit(ledger, "both")
    copy = Ledger(Store(str(tmp_path / "copy")))
    shutil.copytree(ledger.store.url, copy.store.url)
    commit(ledger, "d2")
    commit(ledger, "twice")
    compaction.compact_committed(ledger.store)
    compaction.compact_committed(copy.store)  # "both" is in the tables of both
    commit(copy, "twice")
    compaction.compact_committed(copy.store)
    commit(copy, "d3")
    compaction.compact_committed(copy.store)
    first, second = (copy, ledger) if onto_the_longer else (ledger, copy)
    merged = Ledger(Store(str(tmp_path / "merged")))
    shutil.copytree(first.store.url, merged.store.url)
    shutil.copytree(second.store.url, merged.store.url, dirs_exist_ok=True)

    digests = ["d1", "both", "d2", "twice", "d3"]
    trials, steps, problems = rows(merged)
    assert trials == dict.fromkeys(digests, 1)
    assert steps == dict.fromkeys(digests, 3)
    assert problems or not onto_the_longer
    findings = [f for f in Check(merged.store).run() if f.kind == "damage"]
    assert findings or not onto_the_longer
    compaction.rebuild(merged.store)
    assert seen(merged) == (sorted(digests), dict.fromkeys(digests, 3))
    assert [f for f in Check(merged.store).run() if f.kind == "damage"] == []


def test_of_two_attempts_in_the_tables_the_one_in_the_record_is_read(ledger: Ledger) -> None:
    commit(ledger, "d1", rows=2)
    compaction.compact_committed(ledger.store)
    ledger.store.delete("commits/d1.finished.json")
    commit(ledger, "d1", rows=5)
    other = ledger.store.get("commits/d1.finished.json")
    append_again(ledger)
    assert rows(ledger) == ({"d1": 1}, {"d1": 5}, [])
    assert any("that no compaction wrote" in f.what for f in Check(ledger.store).run())
    compaction.rebuild(ledger.store)
    assert ledger.store.get("commits/d1.finished.json") == other
    assert rows(ledger) == ({"d1": 1}, {"d1": 5}, [])


def append_again(ledger: Ledger) -> None:
    """Append the attempt of the record to tables that hold another attempt of its digest."""
    from orchestrator.tables.batch_selection import _readable, no_notice
    from orchestrator.tables.compaction_log import TABLES, Batch

    members, added, _ = _readable(
        ledger.store, ["commits/d1.finished.json"], no_notice, lambda: None
    )
    for name in TABLES:
        compaction.append(ledger.store, name, Batch(2, "", members), added)


def test_an_entry_of_another_log_is_named_whatever_the_seal(ledger: Ledger, tmp_path: Path) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    other = Ledger(Store(str(tmp_path / "other")))
    shutil.copytree(ledger.store.url, other.store.url)
    for one, digests in ((ledger, ["d2", "d3"]), (other, ["d4"])):
        for digest in digests:
            commit(one, digest)
            compaction.compact_committed(one.store)
    entries = [k for k in ledger.store.list("tables/steps/_delta_log/") if k.endswith("2.json")]
    (second,) = (key for key in entries if "checkpoint" not in key)
    ledger.store.put(second, other.store.get(second))
    for sealed in (other.store.get("tables/steps.json"), None):
        if sealed is None:
            ledger.store.delete(log_seal.key("steps"))
        else:
            ledger.store.put(log_seal.key("steps"), sealed)
        with pytest.raises(ValueError, match="does not follow the one before it"):
            delta_log.load(ledger.store, "steps")
    assert rows(ledger)[1] == {"d1": 3, "d2": 3, "d3": 3}


@pytest.mark.parametrize("merged_files", [True, False])
def test_a_table_of_another_copy_is_named_and_no_row_is_lost(
    ledger: Ledger, tmp_path: Path, merged_files: bool
) -> None:
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    copy = Ledger(Store(str(tmp_path / "copy")))
    shutil.copytree(ledger.store.url, copy.store.url)
    for one, digest in ((ledger, "d2"), (copy, "d3")):
        commit(one, digest)
        compaction.compact_committed(one.store)
        if merged_files:
            compaction.merge_small_files(one.store)
    tables, foreign = Path(ledger.store.url, "tables"), Path(copy.store.url, "tables")
    shutil.rmtree(tables / "steps")
    shutil.copytree(foreign / "steps", tables / "steps")
    shutil.copy(foreign / "steps.json", tables / "steps.json")

    trials, steps, problems = rows(ledger)
    assert trials == {"d1": 1, "d2": 1}
    assert steps == {"d1": 3, "d2": 3}
    assert "tables/steps" in problems[0]
    compaction.rebuild(ledger.store)
    assert seen(ledger) == (["d1", "d2"], {"d1": 3, "d2": 3})

"""Losses and edits that change what views show are named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.analyses import open_store
from orchestrator.ledger import shared_declarations
from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import LEAST_SHARED
from orchestrator.storage import local_files
from orchestrator.tables import compaction
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.unit.test_compaction import commit, seen

DECLARATION: Declaration = {"arm": "a", "config": {"seed": 0}, "values": {}}


def slots(count: int) -> list[Declared]:
    return [Declared("s", "r1", "cell", "final", i, f"d{i}") for i in range(count)]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A study of three trials."""
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    ledger = Ledger(open_store(str(tmp_path / "store")).ledger.store)
    for slot in slots(3):
        ledger.studies.declare(slot, DECLARATION)
        commit(ledger, slot.digest)
    ledger.studies.describe("s", {"question": "?", "arms": ["a"], "revision": "r1"})
    return ledger


def arms(ledger: Ledger) -> dict[str, str]:
    rows = open_store(ledger.store.url)["studies"].to_pylist()
    return {row["digest"]: row["arm"] for row in rows}


def damage(ledger: Ledger) -> list[str]:
    return [f.where for f in Check(ledger.store).run() if f.kind == "damage"]


def test_a_declaration_that_is_gone_is_named(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    compaction.compact_committed(ledger.store)
    assert damage(ledger) == []
    key = slots(3)[1].key
    ledger.store.delete(key)
    assert arms(ledger) == {"d0": "a", "d2": "a"}
    assert f"{key} is gone" in caplog.text
    assert damage(ledger) == [key]
    ledger.studies.declare(slots(3)[1], DECLARATION)
    assert damage(ledger) == []


def test_a_study_that_is_gone_as_a_whole_was_deleted(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    compaction.compact_committed(ledger.store)
    for key in ledger.store.list("studies/"):
        ledger.store.delete(key)
    assert arms(ledger) == {}
    assert damage(ledger) == []
    assert caplog.text == ""


def test_a_declaration_whose_arm_was_edited_is_named_and_left_out(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    key = slots(3)[1].key
    content = json.loads(ledger.store.get(key))
    ledger.store.put(key, json.dumps({**content, "arm": "b"}).encode())
    assert arms(ledger) == {"d0": "a", "d2": "a"}
    assert f"{key} in the store was edited" in caplog.text
    assert damage(ledger) == [key]


def test_declarations_that_share_an_object_and_were_edited_are_named_and_left_out(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    many = [(slot, DECLARATION) for slot in slots(LEAST_SHARED)]
    ledger.studies.declare_all(many)
    (key,) = [key for key in ledger.store.list("studies/s/") if key.endswith(".parquet")]
    edited = {slot.key: json.dumps({**DECLARATION, "arm": "b"}) for slot, _ in many}
    ledger.store.put(key, shared_declarations.dump(edited))
    assert arms(ledger) == {"d0": "a", "d1": "a", "d2": "a"}
    assert key in caplog.text
    assert damage(ledger) == [key]


def test_a_record_that_was_trained_again_counts_even_with_an_old_time(ledger: Ledger) -> None:
    key = "commits/d1.finished.json"
    path = Path(ledger.store.url, key)
    os.utime(path, (1e9, 1e9))
    compaction.compact_committed(ledger.store)
    ledger.store.delete(key)
    commit(ledger, "d1", rows=5)
    os.utime(path, (1e9 - 100, 1e9 - 100))
    assert seen(ledger)[1] == {"d0": 3, "d1": 5, "d2": 3}
    assert compaction.compact_committed(ledger.store) == 1
    assert seen(ledger)[1] == {"d0": 3, "d1": 5, "d2": 3}


def test_a_folder_that_is_a_link_is_named(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = Path(ledger.store.url, "studies/s")
    study.rename(tmp_path / "elsewhere")
    study.symlink_to(tmp_path / "elsewhere")
    assert ledger.studies.names() == []
    assert f"{study} is a link to a folder" in caplog.text


def test_a_record_that_is_listed_and_cannot_be_read_is_named(ledger: Ledger) -> None:
    record = Path(ledger.store.url, "commits/d1.finished.json")
    record.unlink()
    record.symlink_to("nowhere")
    snapshot = Snapshot(ledger.store)
    assert set(snapshot.table("trials")["digest"].to_pylist()) == {"d0", "d2"}
    assert "commits/d1.finished.json" in " ".join(snapshot.problems)
    assert damage(ledger) == ["commits/d1.finished.json"]


def test_a_measurement_that_is_nan_is_not_committed(ledger: Ledger) -> None:
    def tables(table: str, column: str, value: float | None) -> dict[str, list[dict[str, object]]]:
        trial: dict[str, object] = {"outcome": "finished", "task": "t"}
        case = {"case": "c1"} if table == "calibration" else {}
        return {"trials": [trial], table: [{column: value, **case}]}

    before = ledger.store.list("")
    nan = float("nan")
    with pytest.raises(ValueError, match="calibration.nll_sum of case c1 is NaN"):
        ledger.commit("d9", "finished", tables("calibration", "nll_sum", nan))
    assert ledger.store.list("") == before
    ledger.commit("d9", "finished", tables("calibration", "nll_sum", None))
    ledger.commit("d8", "diverged", {**tables("steps", "loss_sum", nan)})


def test_links_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for _ in range(3):
        assert local_files.keys_below(tmp_path, str(tmp_path)) == []
    assert len(caplog.records) == 1

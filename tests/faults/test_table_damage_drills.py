"""Compacted tables with flipped bits: the rows read are the committed ones, or it is said."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from orchestrator.ledger.commits import DamagedError
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import committer_lease, compaction
from orchestrator.tables.snapshot import Snapshot
from tests.conftest import Segprint
from tests.faults.hands import commit, filled, marks
from tests.faults.harm import (
    assert_compacted,
    damage,
    flipped,
    half_compacted,
    harm,
    harms,
    key_of,
    log_of,
    misread,
    rot,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["steps", "trials"])
def test_a_bit_flipped_anywhere_in_the_last_log_entry_changes_no_row_that_is_read(
    local: Store, name: str
) -> None:
    expected, key = filled(local, 3), log_of(name, 3)
    value = local.get(key)
    folded = range(value.index(b"segprint.folded"), len(value))
    wrong = [
        f"{what}: {said}"
        for what in harms(local, key, sorted({*range(0, len(value), 14), *folded}))
        if (said := misread(local, expected))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("trials", b'folded","version":2', b'folded","version":6'),
        ("trials", b"folded", b"foldee"),
        ("steps", b"folded", b"foldee"),
        ("steps", b'folded","version":2', b'folded","version":6'),
    ],
)
def test_a_compaction_after_a_flip_in_a_log_adds_every_row_once(
    local: Store, name: str, old: bytes, new: bytes
) -> None:
    expected, key = filled(local, 2), log_of(name, 2)
    value = local.get(key)
    assert value.count(old) == 1
    local.put(key, value.replace(old, new))
    commit(Ledger(local), "d2", 2)
    try:
        compaction.compact_committed(local)
    except DamagedError:
        compaction.rebuild(local)
    assert marks(local, damaged=True) == {**expected, "d2": 2}


def test_a_damaged_log_is_named_read_around_and_rebuilt(local: Store, inline: Segprint) -> None:
    expected = filled(local, 3)
    key = log_of("steps", 2)
    local.put(key, flipped(local.get(key), 0, 0))  # the first brace: the log does not parse
    assert marks(local, "tables/steps/_delta_log: the log is damaged") == expected
    said = inline("--store", local.url, "tables", "check", "--json")
    assert [(f["where"], f["cure"]) for f in json.loads(said.stdout)] == [
        ("tables/steps", "segprint tables rebuild")
    ]
    assert inline("--store", local.url, "tables", "rebuild").returncode == 0
    assert marks(local) == expected
    assert damage(local) == []


def test_a_bit_flipped_anywhere_in_a_data_file_is_named_by_check(local: Store) -> None:
    expected = filled(local, 1)
    assert marks(local) == expected, "and it is known as good from now on"
    key = key_of(local, "tables/steps/", ".parquet")
    for position in range(30, len(local.get(key)), 240):
        rot(Path(local.url, key), position)
        assert [finding.where for finding in damage(local)] == [key], position
        rot(Path(local.url, key), position)
    assert damage(local) == []


def test_a_bit_flipped_in_an_attempts_name_in_the_folded_trials_is_named_by_check(
    local: Store,
) -> None:
    expected = filled(local, 1)
    (attempt,) = Snapshot(local).table("trials")["attempt"].to_pylist()
    key = key_of(local, "tables/trials/", ".parquet")
    value = local.get(key)
    local.put(key, flipped(value, value.index(attempt.encode()) + 3, 7))
    assert marks(local, key) == expected
    assert key in [finding.where for finding in damage(local)]


def test_a_damaged_data_file_of_s3_is_not_read_but_the_parts_are(remote: Store) -> None:
    expected = filled(remote, 1)
    key = key_of(remote, "tables/steps/", ".parquet")
    harm(remote, key)
    assert marks(remote, key) == expected
    assert [finding.where for finding in damage(remote)] == [key]
    compaction.rebuild(remote)
    assert marks(remote) == expected
    assert damage(remote) == []


def test_a_damaged_copy_of_a_data_file_is_fetched_again_by_a_check(
    remote: Store, tmp_path: Path
) -> None:
    expected = filled(remote, 1)
    assert marks(remote) == expected
    name = Path(key_of(remote, "tables/steps/", ".parquet")).name
    copy = tmp_path / "cache" / "tables" / name
    rot(copy, 500)
    damage(remote)
    compaction.rebuild(remote)
    assert damage(remote) == []


def test_a_bit_flipped_anywhere_in_the_manifest_of_a_folded_batch_changes_no_row(
    local: Store,
) -> None:
    expected, key = filled(local, 2), "tables/batches/00000002.json"
    for what in harms(local, key, range(0, len(local.get(key)), 24)):
        assert misread(local, expected) == "", what


def test_a_bit_flipped_anywhere_in_the_manifest_of_a_batch_being_folded_changes_no_row(
    local: Store,
) -> None:
    expected, key = half_compacted(local), "tables/batches/00000002.json"
    positions = range(0, len(local.get(key)), 45)
    wrong = [w for w in harms(local, key, positions) if misread(local, expected)]
    assert wrong == []


def test_a_bit_flipped_anywhere_in_a_manifest_is_named_by_check(local: Store) -> None:
    filled(local, 1)
    key = "tables/batches/00000001.json"
    positions = range(0, len(local.get(key)), 8)
    assert [w for w in harms(local, key, positions) if not damage(local)] == []


@pytest.mark.parametrize("number", [2, 3])
def test_a_rebuild_cures_a_damaged_manifest(local: Store, inline: Segprint, number: int) -> None:
    expected = filled(local, 3)
    local.put(f"tables/batches/{number:08}.json", b"{")
    assert [finding.cure for finding in damage(local)] == ["segprint tables rebuild"]
    said = inline("--store", local.url, "tables", "rebuild")
    assert said.returncode == 0, said.stderr
    assert marks(local) == expected
    assert damage(local) == []
    assert_compacted(local, 3)


def test_a_bit_flipped_anywhere_in_a_seal_changes_no_row(local: Store) -> None:
    expected, key = filled(local, 2), "tables/steps.json"
    positions = range(2, 24, 3)  # its names, and its number
    wrong = [w for w in harms(local, key, positions) if misread(local, expected)]
    assert wrong == []


def test_a_damaged_lease_keeps_nobody_from_compacting(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_lease, "LEASE_SECONDS", 0.05)
    monkeypatch.setattr(committer_lease, "POLL_SECONDS", 0.01)
    expected = filled(local, 2, compacted=False)
    local.put(committer_lease.KEY, json.dumps({"who": "x", "at": time.time() + 1e9}).encode())
    compaction.compact_committed(local)
    assert marks(local) == expected

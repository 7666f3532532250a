"""Bits that flip and objects that vanish: the rows read are the committed ones, or it is said."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator import delta, fold
from orchestrator.check import Check, Finding
from orchestrator.ledger import Ledger
from orchestrator.records import DamagedError, Record
from orchestrator.snapshot import Snapshot
from orchestrator.store import Store
from tests.conftest import Segprint
from tests.faults.hands import CASES, commit, filled, marks

pytestmark = pytest.mark.slow

RECORD = "commits/d1.finished.json"


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


def half_folded(store: Store) -> dict[str, int]:
    """The first attempt folded, the second and third in all tables but ``trials``."""
    expected = filled(store, 1)
    for i in (1, 2):
        commit(Ledger(store), f"d{i}", i)
    begun = fold.next_batch(store)
    assert begun is not None
    batch, rows = begun
    for name in fold.TABLES[:-1]:
        fold.take(store, name, batch, rows)
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


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("record", "flip"),
        ("record", "cut"),
        ("steps", "flip"),
        ("steps", "cut"),
        ("trials", "gone"),
    ],
)
def test_a_damaged_attempt_is_named_set_aside_and_trained_again(
    local: Store, inline: Segprint, name: str, how: str
) -> None:
    expected = filled(local, 3, folded=False)
    harmed = RECORD if name == "record" else key_of(local, "trials/d1/", f"{name}.parquet")
    harm(local, harmed, how)
    snapshot = Snapshot(local)
    for table, rows in (("trials", 1), ("steps", 3), ("cases", CASES)):
        found = Counter(snapshot.table(table)["digest"].to_pylist())
        assert (found["d0"], found["d2"]) == (1 if table == "steps" else rows, rows)
        assert found["d1"] in ((0,) if name in {table, "record"} else (rows - (table == "steps"),))
    assert [harmed in problem for problem in snapshot.problems] == [True]

    said = inline("--store", local.url, "tables", "check", "--quarantine", "--json")
    assert said.returncode == 1
    (finding,) = json.loads(said.stdout)
    assert (finding["kind"], finding["where"]) == ("damage", RECORD)
    assert harmed in finding["what"]
    assert "--quarantine" in finding["cure"]
    assert f"set aside: {RECORD}" in said.stderr
    assert "d1" not in Ledger(local).commits()
    assert marks(local) == {"d0": 0, "d2": 2}

    assert commit(Ledger(local), "d1", 4)
    assert fold.fold(local) == 3
    assert marks(local) == {**expected, "d1": 4}
    assert damage(local) == []


def test_no_bit_of_a_commit_record_flips_unnoticed(local: Store) -> None:
    filled(local, 2, folded=False)
    value, rng = local.get(RECORD), random.Random(1)
    for position in range(len(value)):
        with pytest.raises(DamagedError, match=RECORD):
            Record.load(RECORD, flipped(value, position, rng.randrange(8)))


@pytest.mark.parametrize("name", ["steps", "record"])
def test_a_damaged_attempt_that_is_folded_is_read_from_the_tables_and_kept_there(
    local: Store, inline: Segprint, name: str
) -> None:
    expected = filled(local, 3)
    harm(local, RECORD if name == "record" else key_of(local, "trials/d1/", f"{name}.parquet"))
    said = inline("--store", local.url, "tables", "check", "--quarantine", "--json")
    (finding,) = json.loads(said.stdout)
    assert (finding["where"], finding["cure"][:11]) == (RECORD, "none needed")
    assert local.list("quarantine/") == []
    refused = inline("--store", local.url, "tables", "rebuild")
    assert refused.returncode == 2
    assert "1 damaged commits have their rows in the folded tables only" in refused.stderr
    assert marks(local) == expected


def test_a_forced_rebuild_leaves_out_what_is_damaged_and_only_that(
    local: Store, inline: Segprint
) -> None:
    filled(local, 3)
    harm(local, key_of(local, "trials/d1/", "steps.parquet"))
    forced = inline("--store", local.url, "tables", "rebuild", "--force")
    assert forced.returncode == 0, forced.stderr
    assert_folded(local, 2)


def assert_folded(store: Store, count: int) -> None:
    """So many attempts are in the tables, and the next one will be."""
    state = delta.load(store, "trials")
    assert state is not None
    assert state.rows == count
    commit(Ledger(store), "next", 0)
    assert fold.fold(store) == 1


def test_gc_goes_on_beside_a_damaged_record_whose_rows_are_folded(
    local: Store, inline: Segprint
) -> None:
    filled(local, 2)
    harm(local, RECORD)
    inline("--store", local.url, "tables", "check", "--quarantine")
    assert inline("--store", local.url, "tables", "gc").returncode == 0


@pytest.mark.parametrize("again", [False, True])
def test_an_attempt_set_aside_in_the_middle_of_its_fold_is_not_read(
    local: Store, again: bool
) -> None:
    half_folded(local)
    harm(local, RECORD)
    check = Check(local)
    assert [finding.where for finding in check.run()] == [RECORD]
    assert check.quarantine() == [RECORD]
    expected = {"d0": 0, "d2": 2}
    if again:
        commit(Ledger(local), "d1", 4)
        expected["d1"] = 4
    assert marks(local) == expected
    with pytest.raises(DamagedError, match=rf"begun with {RECORD}.*`segprint tables rebuild`"):
        fold.fold(local)
    assert marks(local) == expected
    fold.rebuild(local)
    assert marks(local) == expected
    assert damage(local) == []
    assert_folded(local, len(expected))


def test_a_batch_that_lost_its_only_member_stops_no_fold(local: Store) -> None:
    filled(local, 2)
    for key in (RECORD, *local.list("tables/trials/")):
        local.delete(key)
    fold.rebuild(local)
    assert_folded(local, 1)


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
def test_a_fold_after_a_flip_in_a_log_adds_every_row_once(
    local: Store, name: str, old: bytes, new: bytes
) -> None:
    expected, key = filled(local, 2), log_of(name, 2)
    value = local.get(key)
    assert value.count(old) == 1
    local.put(key, value.replace(old, new))
    commit(Ledger(local), "d2", 2)
    try:
        fold.fold(local)
    except DamagedError:
        fold.rebuild(local)
    assert marks(local, damaged=True) == {**expected, "d2": 2}


def test_a_damaged_log_is_named_read_around_and_rebuilt(local: Store, inline: Segprint) -> None:
    expected = filled(local, 3)
    harm(local, log_of("steps", 2))
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
    fold.rebuild(remote)
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
    fold.rebuild(remote)
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
    expected, key = half_folded(local), "tables/batches/00000002.json"
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
    assert_folded(local, 3)


def test_a_bit_flipped_anywhere_in_a_seal_changes_no_row(local: Store) -> None:
    expected, key = filled(local, 2), "tables/steps.json"
    positions = range(2, 24, 3)  # its names, and its number
    wrong = [w for w in harms(local, key, positions) if misread(local, expected)]
    assert wrong == []


def test_a_damaged_lease_keeps_nobody_from_folding(local: Store) -> None:
    expected = filled(local, 2, folded=False)
    local.put(fold.LEASE, json.dumps({"who": "x", "at": time.time() + 1e9}).encode())
    fold.fold(local)
    assert marks(local) == expected

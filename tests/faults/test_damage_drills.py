"""Attempts' objects damaged or gone: the rows read are the committed ones, or it is said."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from orchestrator.ledger.commits import DamagedError, Record
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.conftest import Segprint
from tests.faults.hands import CASES, commit, filled, marks
from tests.faults.harm import (
    assert_compacted,
    damage,
    flipped,
    half_compacted,
    harm,
    key_of,
)

pytestmark = pytest.mark.slow

RECORD = "commits/d1.finished.json"


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
    expected = filled(local, 3, compacted=False)
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
    assert compaction.compact_committed(local) == 3
    assert marks(local) == {**expected, "d1": 4}
    assert damage(local) == []


def test_no_bit_of_a_commit_record_flips_unnoticed(local: Store) -> None:
    filled(local, 2, compacted=False)
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
    assert "1 damaged commits have their rows in the compacted tables only" in refused.stderr
    assert marks(local) == expected


def test_a_forced_rebuild_leaves_out_what_is_damaged_and_only_that(
    local: Store, inline: Segprint
) -> None:
    filled(local, 3)
    harm(local, key_of(local, "trials/d1/", "steps.parquet"))
    forced = inline("--store", local.url, "tables", "rebuild", "--force")
    assert forced.returncode == 0, forced.stderr
    assert_compacted(local, 2)


def test_gc_goes_on_beside_a_damaged_record_whose_rows_are_compacted(
    local: Store, inline: Segprint
) -> None:
    filled(local, 2)
    harm(local, RECORD)
    inline("--store", local.url, "tables", "check", "--quarantine")
    assert inline("--store", local.url, "tables", "gc").returncode == 0


@pytest.mark.parametrize("again", [False, True])
def test_an_attempt_set_aside_in_the_middle_of_its_compaction_is_not_read(
    local: Store, again: bool
) -> None:
    half_compacted(local)
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
        compaction.compact_committed(local)
    assert marks(local) == expected
    compaction.rebuild(local)
    assert marks(local) == expected
    assert damage(local) == []
    assert_compacted(local, len(expected))


def test_a_batch_that_lost_its_only_member_stops_no_compaction(local: Store) -> None:
    filled(local, 2)
    for key in (RECORD, *local.list("tables/trials/")):
        local.delete(key)
    compaction.rebuild(local)
    assert_compacted(local, 1)

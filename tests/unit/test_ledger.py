from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.ledger import DamagedError, Ledger
from trainables.record import SCHEMAS


def trial(outcome: str, score: float | None = 0.5) -> dict[str, Any]:
    return {"outcome": outcome, "task": "t", "score": score}


def test_nothing_is_visible_before_the_commit_record(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    (record,) = ledger.store.list("commits/")
    ledger.store.delete(record)
    assert ledger.commits() == {}
    assert ledger.table("trials").num_rows == 0


def test_a_late_duplicate_is_kept_but_not_read(ledger: Ledger) -> None:
    assert ledger.commit("d1", "finished", {"trials": [trial("finished", 0.1)]})
    assert not ledger.commit("d1", "finished", {"trials": [trial("finished", 0.9)]})
    assert ledger.table("trials")["score"].to_pylist() == [0.1]
    assert len(ledger.store.list("trials/")) == 2


@pytest.mark.parametrize(
    ("outcomes", "counted"),
    [
        (["failed", "finished"], "finished"),
        (["pruned", "finished"], "finished"),
        (["failed", "pruned"], "pruned"),
        (["failed", "failed"], "failed"),
        (["failed", "diverged"], "diverged"),
    ],
)
def test_the_most_telling_outcome_counts_whatever_the_order(
    ledger: Ledger, outcomes: list[Any], counted: str
) -> None:
    for outcome in outcomes:
        ledger.commit("d1", outcome, {"trials": [trial(outcome)]})
    assert ledger.commits()["d1"].outcome == counted
    assert ledger.table("trials")["outcome"].to_pylist() == [counted]
    assert ledger.failures().get("d1", 0) == outcomes.count("failed")


def test_a_flipped_bit_is_named(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    (key,) = ledger.store.list("trials/")
    value = bytearray(ledger.store.get(key))
    value[len(value) // 2] ^= 1
    ledger.store.put(key, bytes(value))
    with pytest.raises(DamagedError, match=f"{key}: sha256 is"):
        ledger.table("trials")


def test_an_unknown_column_is_refused_at_write_and_commits_nothing(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="unknown column"):
        ledger.commit("d1", "finished", {"trials": [{**trial("finished"), "extra": 1}]})
    assert ledger.commits() == {}


def test_every_table_keeps_its_schema_even_when_empty(ledger: Ledger) -> None:
    for name, schema in SCHEMAS.items():
        assert ledger.table(name).schema == schema


def test_a_missing_number_reads_as_null_not_zero(ledger: Ledger) -> None:
    ledger.commit("d1", "diverged", {"trials": [trial("diverged", None)]})
    assert ledger.table("trials")["score"].to_pylist() == [None]


def test_committing_ends_the_lease_and_drops_the_checkpoint(ledger: Ledger) -> None:
    ledger.keep("d1", b"weights")
    assert ledger.checkpoint("d1") == b"weights"
    assert ledger.leases()["d1"] < 5
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    assert ledger.checkpoint("d1") is None
    assert ledger.leases() == {}


def test_the_first_declaration_stands(ledger: Ledger) -> None:
    for values in ({"x": 1}, {"x": 2}):
        ledger.declare("study", "cell", "search", 0, "0123456789abcdef", {"values": values})
    (declared,) = ledger.declared("study")
    assert (declared.cell, declared.stage, declared.index) == ("cell", "search", 0)
    assert ledger.about([declared])[declared.key] == {"values": {"x": 1}}
    assert ledger.declared("other") == []


def test_a_commit_record_names_its_objects_with_hashes_and_rows(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")], "steps": []})
    (key,) = ledger.store.list("commits/")
    record = json.loads(ledger.store.get(key))
    assert set(record["tables"]) == {"trials"}
    assert record["tables"]["trials"]["rows"] == 1
    assert len(record["tables"]["trials"]["sha256"]) == 64

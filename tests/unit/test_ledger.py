from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
import torch

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.tables.snapshot import Snapshot
from trainables.checkpoint import Checkpoint
from trainables.runtime.memory import peak_host, reset_peak_memory
from trainables.schemas import SCHEMAS


def checkpoint_of(digest: str) -> Checkpoint:
    return Checkpoint({}, {"digest": digest, "step": 1, "tally": {}})


def test_the_header_of_a_checkpoint_is_read_without_its_tensors(ledger: Ledger) -> None:
    header = checkpoint_of("d1").header
    size = 10_000_000
    ledger.checkpoints.save("d1", Checkpoint({"network": {"w": torch.ones(size)}}, header))
    reset_peak_memory("cpu")
    before = peak_host()
    kept = LedgerSink(ledger, "code").checkpoint("d1")
    assert peak_host() - before < size, "a quarter of the tensor's bytes"
    assert kept is not None
    assert kept.header == header
    assert kept.state_dicts["network"]["w"].is_meta


def held(ledger: Ledger, digest: str) -> Any:
    """The header of a stored checkpoint."""
    checkpoint = ledger.checkpoints.load(digest)
    return checkpoint and checkpoint.header


def trial(outcome: str, score: float | None = 0.5) -> dict[str, Any]:
    return {"outcome": outcome, "task": "t", "score": score}


def test_nothing_is_visible_before_the_commit_record(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    (record,) = ledger.store.list("commits/")
    ledger.store.delete(record)
    assert ledger.commits() == {}
    assert Snapshot(ledger.store).table("trials").num_rows == 0


def test_a_late_duplicate_is_kept_but_not_read(ledger: Ledger) -> None:
    assert ledger.commit("d1", "finished", {"trials": [trial("finished", 0.1)]})
    assert not ledger.commit("d1", "finished", {"trials": [trial("finished", 0.9)]})
    assert Snapshot(ledger.store).table("trials")["score"].to_pylist() == [0.1]
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
    assert Snapshot(ledger.store).table("trials")["outcome"].to_pylist() == [counted]
    assert ledger.failed_attempts.counts().get("d1", 0) == outcomes.count("failed")


def test_a_flipped_bit_is_named(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    (key,) = ledger.store.list("trials/")
    value = bytearray(ledger.store.get(key))
    value[len(value) // 2] ^= 1
    ledger.store.put(key, bytes(value))
    seen = Snapshot(ledger.store)
    assert seen.table("trials").num_rows == 0
    assert [p for p in seen.problems if p.startswith(f"{key}: sha256 is")] == seen.problems
    assert len(seen.problems) == 1


def test_an_unknown_column_is_refused_at_write_and_commits_nothing(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="unknown column"):
        ledger.commit("d1", "finished", {"trials": [{**trial("finished"), "extra": 1}]})
    assert ledger.commits() == {}


def test_every_table_keeps_its_schema_even_when_empty(ledger: Ledger) -> None:
    for name, schema in SCHEMAS.items():
        assert Snapshot(ledger.store).table(name).schema == schema


def test_a_missing_number_reads_as_null_not_zero(ledger: Ledger) -> None:
    ledger.commit("d1", "diverged", {"trials": [trial("diverged", None)]})
    assert Snapshot(ledger.store).table("trials")["score"].to_pylist() == [None]


def test_only_the_process_that_holds_a_lease_renews_it(ledger: Ledger) -> None:
    sink = LedgerSink(ledger, "code")
    ledger.leases.acquire("d1")
    first = ledger.store.get("leases/d1.json")
    sink.alive("d1")
    assert ledger.store.get("leases/d1.json") != first
    other = json.dumps({**json.loads(first), "pid": 1}).encode()
    ledger.store.put("leases/d1.json", other)
    sink.alive("d1")
    assert ledger.store.get("leases/d1.json") == other


def test_a_lease_that_is_gone_is_taken_again_until_the_run_has_ended(ledger: Ledger) -> None:
    sink = LedgerSink(ledger, "code")
    sink.alive("d1")
    assert ledger.leases.ages()["d1"] < 5
    for outcome in ("failed", "pruned"):
        ledger.commit("d1", outcome, {"trials": [trial(outcome)]})  # type: ignore[arg-type]
        assert ledger.leases.ages() == {}
        sink.alive("d1")
        assert ledger.leases.ages().keys() == ({"d1"} if outcome == "failed" else set())


def test_another_studys_end_leaves_the_lease_to_who_holds_it(ledger: Ledger) -> None:
    sink, other = (LedgerSink(Ledger(ledger.store), "code") for _ in range(2))
    assert pickle.loads(pickle.dumps(sink)).ledger.holder == sink.ledger.holder
    sink.resume("d1")
    lease = ledger.store.get("leases/d1.json")
    assert other.checkpoint("d1") is None
    other.commit("d1", "pruned", {"trials": [trial("pruned")]})
    other.ledger.leases.release("d1")
    assert ledger.store.get("leases/d1.json") == lease
    gone = json.dumps({**json.loads(lease), "born": "0"}).encode()
    ledger.store.put("leases/d1.json", gone)
    other.ledger.leases.release("d1")
    assert ledger.store.list("leases/") == []


def test_committing_ends_the_lease_and_drops_the_checkpoint(ledger: Ledger) -> None:
    LedgerSink(ledger, "code").keep("d1", checkpoint_of("d1"))
    assert held(ledger, "d1") == {"digest": "d1", "step": 1, "tally": {}}
    assert ledger.leases.ages()["d1"] < 5
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    assert ledger.checkpoints.load("d1") is None
    assert ledger.leases.ages() == {}


def test_the_first_declaration_stands(ledger: Ledger) -> None:
    place = Declared("study", "r1", "cell", "search", 0, "0123456789abcdef")
    for values in ({"x": 1}, {"x": 2}):
        ledger.studies.declare(place, {"values": values})
    assert ledger.studies.declared("study") == [place]
    assert ledger.studies.declarations([place])[place.key] == {"values": {"x": 1}}
    assert ledger.studies.declared("other") == []
    assert ledger.studies.current("study") == []
    ledger.studies.describe("study", {"revision": "r1"})
    assert ledger.studies.current("study") == ledger.studies.current() == [place]


def test_what_failed_keeps_its_checkpoint_for_the_next_try(ledger: Ledger) -> None:
    LedgerSink(ledger, "code").keep("d1", checkpoint_of("d1"))
    ledger.commit("d1", "failed", {"trials": [trial("failed")]})
    assert held(ledger, "d1") == {"digest": "d1", "step": 1, "tally": {}}


def test_tidy_drops_what_a_kill_left_and_spares_what_is_wanted(ledger: Ledger) -> None:
    for digest, outcome in (("d1", "finished"), ("d2", "pruned"), ("d3", "pruned")):
        ledger.commit(digest, outcome, {"trials": [trial(outcome)]})  # type: ignore[arg-type]
    for digest in ("d1", "d2", "d3", "d4"):
        LedgerSink(ledger, "code").keep(digest, checkpoint_of(digest))
    ledger.delete_leftovers(wanted={"d3"}, alive_seconds=0.0)
    assert ledger.store.list("checkpoints/") == ["checkpoints/d3.pt", "checkpoints/d4.pt"]


def test_a_missing_committed_object_is_named(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")]})
    (key,) = ledger.store.list("trials/")
    ledger.store.delete(key)
    seen = Snapshot(ledger.store)
    assert seen.table("trials").num_rows == 0
    assert f"{key}: a committed object is missing" in seen.problems[0]


def test_only_a_lasting_outcome_is_done(ledger: Ledger) -> None:
    for outcome, expected in (("failed", None), ("pruned", None), ("finished", "finished")):
        ledger.commit("d1", outcome, {"trials": [trial(outcome)]})  # type: ignore[arg-type]
        assert ledger.done("d1") == expected


def test_a_commit_record_names_its_objects_with_hashes_and_rows(ledger: Ledger) -> None:
    ledger.commit("d1", "finished", {"trials": [trial("finished")], "steps": []})
    (key,) = ledger.store.list("commits/")
    record = json.loads(ledger.store.get(key))
    assert set(record["tables"]) == {"trials"}
    assert record["tables"]["trials"]["rows"] == 1
    assert len(record["tables"]["trials"]["sha256"]) == 64

"""Deleting takes trials with what only they need, and a death on the way costs nothing else."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import deltalake
import pytest

from orchestrator.ledger import studies as studies_module
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.driver_lock import locked
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import committer_lease, compaction, vacuum
from orchestrator.tables.deletion import delete, planned
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from tests.conftest import Segprint

DIGESTS = {name: f"{name}{'0' * 15}" for name in "abcde"}
"""``a`` and ``b`` are of study one, ``c`` of both studies, ``d`` and ``e`` of study two."""
STUDIES = {"one": "abc", "two": "cde"}
TRAININGS = {"a": "wa", "b": "wb", "c": "wc", "d": "wb", "e": "we"}
"""``d`` reads the weights that ``b`` trained."""
A, B, C, D, E = DIGESTS.values()


def alive(_: str) -> None:
    raise AssertionError("no driver was killed here")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["apart", "together"])
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ledger:
    """Two studies whose trials are partly compacted; their declarations share objects or not."""
    if request.param == "together":
        monkeypatch.setattr(studies_module, "LEAST_SHARED", 1)
    ledger = Ledger(Store(str(tmp_path / "store")))
    for study, names in STUDIES.items():
        ledger.studies.describe(study, {"revision": "r1", "question": "", "arms": []})
        ledger.studies.declare_all(
            (
                Declared(study, "r1", "cell", "final", ord(n), DIGESTS[n]),
                {"arm": "x", "config": {}, "values": {}, "trainings": [TRAININGS[n]]},
            )
            for n in names
        )
    for i, name in enumerate(DIGESTS):
        if i == 3:
            compaction.compact_committed(ledger.store)
        training = TRAININGS[name]
        ledger.store.put(f"weights/{training}/hash.safetensors", bytes(1000))
        ledger.store.put(f"weights/{training}.json", b"{}")
        trial = {"outcome": "finished", "task": "t", "trainings": [training]}
        steps = [{"step": s, "loss_sum": 1.0, "loss_count": 1} for s in range(3)]
        ledger.commit(DIGESTS[name], "finished", {"trials": [trial], "steps": steps})
        ledger.store.put(ledger.checkpoints.key(DIGESTS[name]), b"left by a killed process")
    return ledger


def rows(ledger: Ledger) -> dict[str, int]:
    """The number of steps of each trial; readers meet no problem."""
    snapshot = Snapshot(ledger.store)
    steps = snapshot.table("steps")["digest"].to_pylist()
    digests = snapshot.table("trials")["digest"].to_pylist()
    assert snapshot.problems == []
    return {digest: steps.count(digest) for digest in digests}


def damage(ledger: Ledger) -> list[Any]:
    return [finding for finding in Check(ledger.store).run() if finding.kind == "damage"]


def weights(ledger: Ledger) -> set[str]:
    return {key.split("/")[1].removesuffix(".json") for key in ledger.store.list("weights/")}


def traces(ledger: Ledger, digest: str) -> list[str]:
    return [key for key in ledger.store.list("") if digest in key and "quarantine" not in key]


def assert_gone(ledger: Ledger) -> None:
    """Study one is deleted, and study two has all that it had."""
    assert rows(ledger) == {C: 3, D: 3, E: 3}
    assert damage(ledger) == []
    assert ledger.studies.names(retired=True) == ["two"]
    assert {slot.digest for slot in ledger.studies.declared()} == {C, D, E}
    assert weights(ledger) == {"wb", "wc", "we"}
    assert traces(ledger, A) == traces(ledger, B) == []
    for name in ("trials", "steps"):
        table = deltalake.DeltaTable(f"{ledger.store.url}/tables/{name}").to_pyarrow_table()
        assert not {A, B} & set(table["digest"].to_pylist())


def test_a_study_goes_with_what_only_it_needs(ledger: Ledger) -> None:
    plan = planned(ledger, ["one"])
    assert plan.digests == {A, B}
    assert plan.shared_trials == {C: {"two"}}
    assert plan.shared_weights == {"wb"}
    assert plan.compacted == 2
    sizes = {what: sum(entry.size for entry in found) for what, found in plan.objects.items()}
    assert sizes["weights"] == 1000 + len(b"{}")
    before = {entry.key: entry.size for entry in ledger.store.entries("trials/")}
    assert sizes["rows"] == sum(n for key, n in before.items() if key.split("/")[1] in (A, B))
    assert rows(ledger).keys() == {A, B, C, D, E}  # nothing has changed so far
    delete(ledger, ["one"], 75, alive)
    assert_gone(ledger)
    with pytest.raises(ValueError, match="one"):
        planned(ledger, ["one"])


def test_compactions_rebuilds_and_garbage_collections_bring_nothing_back(ledger: Ledger) -> None:
    delete(ledger, ["one"], 75, alive)
    compaction.compact_committed(ledger.store)
    compaction.merge_small_files(ledger.store)
    assert_gone(ledger)
    compaction.rebuild(ledger.store)
    assert_gone(ledger)
    delete(ledger, ["two"], 75, alive)
    vacuum.collect(ledger, timedelta(0))
    assert rows(ledger) == {}
    assert damage(ledger) == []


def test_a_trial_goes_from_every_study_and_can_be_trained_again(ledger: Ledger) -> None:
    delete(ledger, ["c"], 75, alive)
    assert rows(ledger).keys() == {A, B, D, E}
    assert {slot.digest for slot in ledger.studies.declared()} == {A, B, D, E}
    assert weights(ledger) == {"wa", "wb", "we"}
    ledger.commit(C, "finished", {"trials": [{"outcome": "finished", "task": "new"}]})
    for _ in range(2):
        assert rows(ledger) == {A: 3, B: 3, C: 0, D: 3, E: 3}
        assert damage(ledger) == []
        compaction.compact_committed(ledger.store)
    delete(ledger, [C], 75, alive)
    assert rows(ledger).keys() == {A, B, D, E}
    assert damage(ledger) == []


class Death(BaseException):
    """The process ends here; nothing that it would do afterwards reaches the store."""


@dataclass(frozen=True)
class Mortal(Store):
    """A store whose process dies before its n-th change."""

    left: Iterator[int] = field(default_factory=itertools.count)

    def put(self, key: str, value: bytes) -> None:
        self._live()
        super().put(key, value)

    def create(self, key: str, value: bytes) -> bool:
        self._live()
        return super().create(key, value)

    def delete(self, key: str) -> None:
        self._live()
        super().delete(key)

    def _live(self) -> None:
        if next(self.left, None) is None:
            raise Death


def dies(url: str, names: list[str], changes: int) -> bool:
    """Whether a deletion dies before its n-th change; its locks lapse at once."""
    try:
        delete(Ledger(Mortal(url, left=iter(range(changes)))), names, 75, alive)
    except Death:
        store = Store(url)
        for key in (*store.list("drivers/"), committer_lease.KEY):
            store.delete(key)
        return True
    return False


@pytest.mark.slow
def test_a_death_before_any_change_leaves_a_whole_store_and_can_be_repeated(
    ledger: Ledger, tmp_path: Path
) -> None:
    for changes in itertools.count():
        copy = tmp_path / f"copy{changes}"
        shutil.copytree(ledger.store.url, copy)
        names = ["one"] if changes % 2 else ["a", "b"]
        died = dies(str(copy), names, changes)
        left = Ledger(Store(str(copy)))
        seen = rows(left)
        assert {C, D, E} <= seen.keys() <= {A, B, C, D, E}
        assert set(seen.values()) == {3}
        assert damage(left) == []
        assert {"wb", "wc", "we"} <= weights(left)
        if died:
            with suppress(ValueError):  # it died after the last deletion: the names are unknown
                delete(left, names, 75, alive)
        assert rows(left) == {C: 3, D: 3, E: 3}
        assert weights(left) == {"wb", "wc", "we"}
        assert traces(left, A) == traces(left, B) == []
        assert {slot.digest for slot in left.studies.declared()} <= {C, D, E}
        assert damage(left) == []
        shutil.rmtree(copy)
        if not died:
            break
    assert changes > 20


def test_what_runs_is_not_deleted(ledger: Ledger) -> None:
    with (
        locked(ledger.store, "two", alive),
        pytest.raises(ValueError, match="study two is driven by process .*: stop it first"),
    ):
        delete(ledger, ["c"], 75, alive)
    ledger.leases.acquire(D)
    with pytest.raises(ValueError, match=f"trial {D} is running"):
        delete(ledger, ["two"], 75, alive)
    assert rows(ledger).keys() == {A, B, C, D, E}


def test_nothing_is_deleted_where_a_trial_that_may_need_weights_is_not_read(
    ledger: Ledger,
) -> None:
    (key,) = (key for key in ledger.store.list("commits/") if E in key)
    ledger.store.put(key, b"{")
    objects = ledger.store.list("")
    with pytest.raises(ValueError, match="nothing is deleted from a damaged store"):
        delete(ledger, ["one"], 75, alive)
    assert ledger.store.list("trials/") == [k for k in objects if k.startswith("trials/")]
    assert ledger.store.list("weights/") == [k for k in objects if k.startswith("weights/")]


def test_the_command_says_what_would_go_first(ledger: Ledger, inline: Segprint) -> None:
    store = ["--store", ledger.store.url]
    dry = inline(*store, "delete", "one").stdout
    assert "would be deleted: study one, 2 trials" in dry
    assert "1 trial that two declared too: kept" in dry
    assert "nothing was deleted; --yes deletes" in dry
    assert rows(ledger).keys() == {A, B, C, D, E}
    done = json.loads(inline(*store, "delete", "one", "--yes", "--json").stdout)
    assert done["trials"] == [A, B]
    assert_gone(ledger)
    again = inline(*store, "delete", "one", "--yes")
    assert again.returncode == 2
    assert "'one'" in again.stderr
    assert "two" in again.stderr


def test_a_prefix_must_name_one_trial(ledger: Ledger, inline: Segprint) -> None:
    twin = f"{A[:4]}{'f' * 12}"
    ledger.commit(twin, "finished", {"trials": [{"outcome": "finished", "task": "t"}]})
    refused = inline("--store", ledger.store.url, "delete", "a0")
    assert refused.returncode == 2
    assert f"'a0' must be the start of one digest; 2 match: {A}, {twin}" in refused.stderr


def test_disk_use_counts_what_studies_share_for_each_of_them(
    ledger: Ledger, inline: Segprint
) -> None:
    for digest in (A, C, D):  # others keep none: their runs have ended
        ledger.store.put(ledger.checkpoints.key(digest), bytes(77))
    for digest in (B, E):
        ledger.checkpoints.delete(digest)
    listed = json.loads(inline("--store", ledger.store.url, "ls", "studies", "--json").stdout)
    sizes = {entry.key: entry.size for entry in ledger.store.entries("trials/")}

    def rows_of(digests: set[str]) -> int:
        return sum(size for key, size in sizes.items() if key.split("/")[1] in digests)

    one, two = listed
    assert one["rows_bytes"] == rows_of({A, B, C})
    assert two["rows_bytes"] == rows_of({C, D, E})
    assert one["weights_bytes"] == two["weights_bytes"] == 3000
    assert one["checkpoints_bytes"] == two["checkpoints_bytes"] == 2 * 77
    assert one["shared_bytes"] == two["shared_bytes"] == rows_of({C}) + 2000 + 77

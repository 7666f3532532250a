"""Committers that die or race: what is committed is compacted, whole and once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import committer_lease, compaction, delta_log
from tests.faults.conftest import Hands
from tests.faults.hands import (
    CASES,
    FORKS,
    commit,
    compact_anyway,
    compact_once,
    files,
    found,
    marks,
    merge_anyway,
    read,
    rebuild_anyway,
    write,
)
from tests.faults.proxy import Proxy, to

pytestmark = pytest.mark.slow


def compacted_by_many(
    store: Store, hands: Hands, rounds: int, crew: int, progress: Callable[[], int]
) -> None:
    """Compact and merge with one of the crew struck each time, and somebody reading all along."""
    ledger, rng, stop = Ledger(store), random.Random(crew), FORKS.Event()
    reader, struck, expected = hands(read, store, stop), 0, dict[str, int]()

    def more(count: int) -> None:
        for _ in range(count):
            digest = f"d{len(expected):03}"
            expected[digest] = len(expected) % 3
            assert commit(ledger, digest, expected[digest])

    for _ in range(rounds):
        more(3)
        for work, latest in ((compact_anyway, 14), (merge_anyway, 6)):
            at, go = progress() + rng.randint(1, latest), FORKS.Barrier(crew)
            committers = [hands(work, store, go) for _ in range(crew)]
            more(1)
            victim = committers.pop(rng.randrange(crew))
            struck += victim.strike(lambda: progress() >= at)  # noqa: B023
            for committer in committers:
                committer.done()
            assert marks(store) == expected
    stop.set()
    assert len(reader.done()) >= rounds
    assert struck >= rounds
    assert_all_is_compacted_once(store, expected)


def assert_all_is_compacted_once(store: Store, expected: dict[str, int]) -> None:
    compaction.compact_committed(store)
    assert marks(store) == expected
    lengths = {
        "trials": len(expected),
        "steps": sum(mark + 1 for mark in expected.values()),
        "cases": CASES * len(expected),
    }
    for name, rows in lengths.items():
        state = delta_log.load(store, name)
        assert state is not None
        assert state.rows == rows
    assert found(store) == []


@pytest.mark.parametrize(
    ("rounds", "crew"),
    [
        (1, 2),
        pytest.param(4, 2, marks=pytest.mark.slow),
        pytest.param(3, 4, marks=pytest.mark.slow),
    ],
)
def test_committers_at_once_one_of_them_killed_compact_every_row_once(
    local: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch, rounds: int, crew: int
) -> None:
    monkeypatch.setattr(committer_lease, "LEASE_SECONDS", 0.0)
    compacted_by_many(local, hands, rounds, crew, lambda: files(local, "tables"))


def test_committers_at_once_on_s3_one_of_them_killed_compact_every_row_once(
    remote: Store, proxy: Proxy, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_lease, "LEASE_SECONDS", 0.0)
    written = to("PUT", "/tables/")
    compacted_by_many(
        remote, hands, 1, 2, lambda: sum(written(method, path) for method, path in [*proxy.log])
    )


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_a_rebuild_killed_at_any_file_hides_no_row_and_can_be_done_again(
    local: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    monkeypatch.setattr(committer_lease, "LEASE_SECONDS", 0.0)
    expected = {f"d{i}": i for i in range(3)}
    for digest, mark in expected.items():
        commit(Ledger(local), digest, mark)
        compaction.compact_committed(local)
    rng = random.Random(1)
    for _ in range(rounds):
        seen, at = set[int](), rng.randint(2, 40)
        builder = hands(rebuild_anyway, local)
        builder.strike(lambda: seen.add(files(local, "tables")) or len(seen) >= at)  # noqa: B023
        builder.rest()
        assert marks(local, damaged=True) == expected
        assert compaction.rebuild(local) == 3
        assert_all_is_compacted_once(local, expected)


def test_a_killed_committers_lease_is_told_and_taken_over_when_it_stays_as_it_is(
    local: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {f"d{i:03}": i % 3 for i in range(3)}
    hands(write, local, "d", 3).done()
    committer = hands(compact_once, local)
    assert committer.strike((Path(local.url) / "tables/steps/_delta_log").exists)
    committer.rest()
    held = json.loads(local.get(committer_lease.KEY))
    elsewhere = {**held, "process": {**held["process"], "machine": "another"}}
    local.put(committer_lease.KEY, json.dumps(elsewhere).encode())
    with pytest.raises(committer_lease.BusyError, match="is compacting this store, last seen"):
        compaction.compact_committed(local)
    assert marks(local) == expected
    monkeypatch.setattr(committer_lease, "LEASE_SECONDS", 0.05)
    monkeypatch.setattr(committer_lease, "POLL_SECONDS", 0.01)
    old = {**elsewhere, "at": held["at"] - 100 * committer_lease.LEASE_SECONDS}
    local.put(committer_lease.KEY, json.dumps(old).encode())
    assert_all_is_compacted_once(local, expected)
    with pytest.raises(KeyError):
        local.get(committer_lease.KEY)

"""Writers that die or race: what is committed is read, whole and once."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.formatting import plural
from orchestrator.ledger.commits import Record
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, vacuum
from tests.conftest import Segprint
from tests.faults.conftest import Hands
from tests.faults.hands import (
    FORKS,
    commit,
    files,
    found,
    marks,
    race,
    write,
)
from tests.faults.proxy import Fault, Proxy
from trainables.schemas import Outcome

pytestmark = pytest.mark.slow
MOST = 99
"""Writers that are killed."""


def uncommitted(store: Store) -> set[str]:
    """Objects of attempts that no commit record names."""
    records = [Record.load(key, store.get(key)) for key in store.list("commits/")]
    named = {part.key for record in records for part in record.tables.values()}
    return set(store.list("trials/")) - named


def attempts(keys: set[str]) -> int:
    return len({key.rpartition("/")[0] for key in keys})


def killed(store: Store, hands: Hands, rounds: int, proxy: Proxy | None) -> tuple[set[str], int]:
    """Let writers be killed at random objects; digests of which they knew that they are there, and
    how many were killed: more where none was struck in the midst of an attempt.
    """
    rng, known, kills = random.Random(1), set[str](), 0
    while kills < rounds or (not uncommitted(store) and kills < MOST):
        writer, at = hands(write, store, f"r{kills:02}-"), rng.randint(1, 14)
        if proxy is None:
            begun = files(store, "")
            assert writer.strike(lambda: files(store, "") >= begun + at)  # noqa: B023
        else:
            seen = itertools.count(1)

            def now(method: str, _: str) -> bool:
                strikes = method == "PUT" and next(seen) == at  # noqa: B023
                if strikes:
                    writer.kill()  # noqa: B023
                return strikes

            proxy.fault(Fault(rng.choice(["none", "reset"]), now))
        known.update(writer.rest())
        assert writer.process.exitcode == -9
        if proxy is not None:
            proxy.heal()
        kills += 1
    return known, kills


def assert_only_whole_attempts_count(
    store: Store, known: set[str], rounds: int, inline: Segprint
) -> None:
    visible = marks(store)
    assert known <= set(visible)
    assert len(visible) - len(known) <= rounds, "only the last may be committed, and not known"
    assert visible == {digest: int(digest[4:]) % 3 for digest in visible}

    orphans = uncommitted(store)
    assert orphans
    count = plural(attempts(orphans), "attempt")
    what = f"{count} without a commit record: killed before it, or second"
    assert found(store) == [("note", "trials/", what)]
    checked = inline("--store", store.url, "tables", "check", "--json")
    assert checked.returncode == 0, checked.stderr
    assert [row["what"] for row in json.loads(checked.stdout)] == [what]


def assert_gc_drops_only(store: Store, orphans: set[str], inline: Segprint) -> None:
    visible, objects = marks(store), set(store.list("trials/"))
    dropped = inline("--store", store.url, "tables", "gc", "--json")
    assert {row["key"] for row in json.loads(dropped.stdout)} == orphans
    assert set(store.list("trials/")) == objects - orphans
    assert marks(store) == visible
    assert found(store) == []


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.cluster)])
def test_writers_killed_between_two_files_leave_whole_attempts_and_garbage_that_gc_drops(
    local: Store, hands: Hands, inline: Segprint, rounds: int
) -> None:
    known, rounds = killed(local, hands, rounds, None)
    assert_only_whole_attempts_count(local, known, rounds, inline)
    orphans = uncommitted(local)
    assert list(vacuum.garbage(Ledger(local), timedelta(0))) == [], "they may be in the writing"
    old = time.time() - 2 * 86400
    for path in (Path(local.url) / "trials").rglob("*.parquet"):
        os.utime(path, (old, old))
    assert_gc_drops_only(local, orphans, inline)


@pytest.mark.parametrize("rounds", [3, pytest.param(12, marks=pytest.mark.cluster)])
def test_writers_killed_between_two_requests_leave_whole_attempts_and_garbage_that_gc_drops(
    remote: Store,
    proxy: Proxy,
    hands: Hands,
    inline: Segprint,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
) -> None:
    known, rounds = killed(remote, hands, rounds, proxy)
    assert_only_whole_attempts_count(remote, known, rounds, inline)
    orphans = uncommitted(remote)
    assert list(vacuum.garbage(Ledger(remote), timedelta(0))) == [], "they may be in the writing"
    monkeypatch.setattr(vacuum, "GRACE", timedelta(seconds=-2))  # the server keeps whole seconds
    assert_gc_drops_only(remote, orphans, inline)


def raced(store: Store, hands: Hands, rounds: int) -> int:
    """Eight commit each digest at once; how many were told that theirs counts."""
    go, digests = FORKS.Barrier(8), [f"d{r}" for r in range(rounds)]
    crew = [hands(race, store, digests, me, go) for me in range(8)]
    won = [hand.done() for hand in crew]
    read = marks(store)
    assert set(read) == set(digests)
    for r, digest in enumerate(digests):
        assert won[read[digest]][r], "the one that is read knows it"
    assert attempts(uncommitted(store)) == 7 * rounds
    what = f"{7 * rounds} attempts without a commit record: killed before it, or second"
    assert found(store) == [("note", "trials/", what)]
    compaction.compact_committed(store)
    assert marks(store) == read
    for key in store.list("tables/"):
        store.delete(key)
    assert compaction.rebuild(store) == rounds
    assert marks(store) == read
    return sum(map(sum, won))


def test_of_eight_writers_of_the_same_digest_one_is_read(local: Store, hands: Hands) -> None:
    assert raced(local, hands, 4) == 4


def test_of_eight_writers_of_the_same_digest_one_is_read_from_s3(
    remote: Store, hands: Hands
) -> None:
    assert raced(remote, hands, 3) == 3


def test_of_eight_writers_one_is_read_where_the_store_lets_all_of_them_create(
    remote: Store, proxy: Proxy, hands: Hands
) -> None:
    proxy.ignores_conditions, proxy.latency = True, 0.05
    go = FORKS.Barrier(8)
    crew = [hands(race, remote, ["d0"], me, go) for me in range(8)]
    won = [hand.done() for hand in crew]
    assert sum(map(sum, won)) > 1, "nobody was fooled, so nothing was tried"
    proxy.heal()
    read = marks(remote)
    assert set(read) == {"d0"}
    assert attempts(uncommitted(remote)) == 7
    compaction.compact_committed(remote)
    assert marks(remote) == read
    assert {kind for kind, _, _ in found(remote)} == {"note"}


@pytest.mark.parametrize("place", ["local", pytest.param("remote", marks=pytest.mark.slow)])
def test_a_late_attempt_is_read_neither_before_nor_after_a_compaction_nor_from_new_tables(
    place: str, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(place)
    ledger = Ledger(store)
    assert commit(ledger, "d0", 2)
    assert not commit(ledger, "d0", 1)
    assert marks(store) == {"d0": 2}
    assert compaction.compact_committed(store) == 1
    assert not commit(ledger, "d0", 0)
    assert commit(ledger, "d1", 1)
    assert compaction.compact_committed(store) == 1
    expected = {"d0": 2, "d1": 1}
    assert marks(store) == expected
    for key in store.list("tables/"):
        store.delete(key)
    assert marks(store) == expected
    assert compaction.rebuild(store) == 2
    assert marks(store) == expected
    assert attempts(uncommitted(store)) == 2


@pytest.mark.parametrize(
    "worse",
    [
        "failed",
        pytest.param("pruned", marks=pytest.mark.slow),
        pytest.param("diverged", marks=pytest.mark.slow),
    ],
)
def test_a_better_outcome_replaces_a_worse_one_before_and_after_compaction(
    local: Store, worse: Outcome
) -> None:
    ledger = Ledger(local)
    for mark in (1, 2) if worse == "failed" else (1,):
        commit(ledger, "d0", mark, worse)
        compaction.compact_committed(local)
    assert marks(local) in ({"d0": 1}, {"d0": 2}), "of two that failed in a second, either"
    commit(ledger, "d0", 0)
    assert marks(local) == {"d0": 0}
    for change in (compaction.compact_committed, compaction.merge_small_files, compaction.rebuild):
        change(local)
        assert marks(local) == {"d0": 0}
    assert found(local) == []

"""Writers and committers that die or race: what is committed is read, whole and once."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import delta, fold, garbage
from orchestrator.check import Check
from orchestrator.ledger import Ledger
from orchestrator.records import Record
from orchestrator.store import Store
from tests.conftest import Segprint
from tests.faults.conftest import Hands
from tests.faults.hands import (
    CASES,
    FORKS,
    commit,
    compact_anyway,
    fold_anyway,
    fold_once,
    marks,
    race,
    read,
    rebuild_anyway,
    write,
)
from tests.faults.proxy import Fault, Proxy, to
from trainables.record import Outcome

pytestmark = pytest.mark.slow


def uncommitted(store: Store) -> set[str]:
    """Objects of attempts that no commit record names."""
    records = [Record.load(key, store.get(key)) for key in store.list("commits/")]
    named = {part.key for record in records for part in record.parts.values()}
    return set(store.list("trials/")) - named


def attempts(keys: set[str]) -> int:
    return len({key.rpartition("/")[0] for key in keys})


def files(store: Store, under: str) -> int:
    """How many files there are, unfinished ones too."""
    return sum(len(found) for _, _, found in os.walk(Path(store.url) / under))


def found(store: Store) -> list[tuple[str, str, str]]:
    """What a check finds."""
    return [(f.kind, f.where, f.what) for f in Check(store).run()]


def killed(store: Store, hands: Hands, rounds: int, proxy: Proxy | None) -> set[str]:
    """Let writers be killed at random objects; digests of which they knew that they are there."""
    rng, known = random.Random(1), set[str]()
    for r in range(rounds):
        writer, at = hands(write, store, f"r{r:02}-"), rng.randint(1, 14)
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
    return known


def assert_only_whole_attempts_count(
    store: Store, known: set[str], rounds: int, inline: Segprint
) -> None:
    visible = marks(store)
    assert known <= set(visible)
    assert len(visible) - len(known) <= rounds, "only the last may be committed, and not known"
    assert visible == {digest: int(digest[4:]) % 3 for digest in visible}

    orphans = uncommitted(store)
    assert orphans
    what = f"{attempts(orphans)} attempts have no commit record: killed before it, or second"
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


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_writers_killed_between_two_files_leave_whole_attempts_and_litter_that_gc_drops(
    local: Store, hands: Hands, inline: Segprint, rounds: int
) -> None:
    known = killed(local, hands, rounds, None)
    assert_only_whole_attempts_count(local, known, rounds, inline)
    orphans = uncommitted(local)
    assert list(garbage.litter(Ledger(local), timedelta(0))) == [], "they may be in the writing"
    old = time.time() - 2 * 86400
    for path in (Path(local.url) / "trials").rglob("*.parquet"):
        os.utime(path, (old, old))
    assert_gc_drops_only(local, orphans, inline)


@pytest.mark.parametrize("rounds", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_writers_killed_between_two_requests_leave_whole_attempts_and_litter_that_gc_drops(
    remote: Store,
    proxy: Proxy,
    hands: Hands,
    inline: Segprint,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
) -> None:
    known = killed(remote, hands, rounds, proxy)
    assert_only_whole_attempts_count(remote, known, rounds, inline)
    orphans = uncommitted(remote)
    assert list(garbage.litter(Ledger(remote), timedelta(0))) == [], "they may be in the writing"
    monkeypatch.setattr(garbage, "GRACE", timedelta(seconds=-2))  # the server keeps whole seconds
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
    what = f"{7 * rounds} attempts have no commit record: killed before it, or second"
    assert found(store) == [("note", "trials/", what)]
    fold.fold(store)
    assert marks(store) == read
    for key in store.list("tables/"):
        store.delete(key)
    assert fold.rebuild(store) == rounds
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
    fold.fold(remote)
    assert marks(remote) == read
    assert {kind for kind, _, _ in found(remote)} == {"note"}


def folded_by_many(
    store: Store, hands: Hands, rounds: int, crew: int, progress: Callable[[], int]
) -> None:
    """Fold and compact with one of the crew struck each time, and somebody reading all along."""
    ledger, rng, stop = Ledger(store), random.Random(crew), FORKS.Event()
    reader, struck, expected = hands(read, store, stop), 0, dict[str, int]()

    def more(count: int) -> None:
        for _ in range(count):
            digest = f"d{len(expected):03}"
            expected[digest] = len(expected) % 3
            assert commit(ledger, digest, expected[digest])

    for _ in range(rounds):
        more(3)
        for work, latest in ((fold_anyway, 14), (compact_anyway, 6)):
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
    assert_all_is_folded_once(store, expected)


def assert_all_is_folded_once(store: Store, expected: dict[str, int]) -> None:
    fold.fold(store)
    assert marks(store) == expected
    lengths = {
        "trials": len(expected),
        "steps": sum(mark + 1 for mark in expected.values()),
        "cases": CASES * len(expected),
    }
    for name, rows in lengths.items():
        state = delta.load(store, name)
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
def test_committers_at_once_one_of_them_killed_fold_every_row_once(
    local: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch, rounds: int, crew: int
) -> None:
    monkeypatch.setattr(fold, "LEASE_SECONDS", 0.0)
    folded_by_many(local, hands, rounds, crew, lambda: files(local, "tables"))


def test_committers_at_once_on_s3_one_of_them_killed_fold_every_row_once(
    remote: Store, proxy: Proxy, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "LEASE_SECONDS", 0.0)
    written = to("PUT", "/tables/")
    folded_by_many(
        remote, hands, 1, 2, lambda: sum(written(method, path) for method, path in [*proxy.log])
    )


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_a_rebuild_killed_at_any_file_hides_no_row_and_can_be_done_again(
    local: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    monkeypatch.setattr(fold, "LEASE_SECONDS", 0.0)
    expected = {f"d{i}": i for i in range(3)}
    for digest, mark in expected.items():
        commit(Ledger(local), digest, mark)
        fold.fold(local)
    rng = random.Random(1)
    for _ in range(rounds):
        seen, at = set[int](), rng.randint(2, 40)
        builder = hands(rebuild_anyway, local)
        builder.strike(lambda: seen.add(files(local, "tables")) or len(seen) >= at)  # noqa: B023
        builder.rest()
        assert marks(local, damaged=True) == expected
        assert fold.rebuild(local) == 3
        assert_all_is_folded_once(local, expected)


def test_a_killed_committers_lease_is_told_and_taken_over_when_it_is_old(
    local: Store, hands: Hands
) -> None:
    expected = {f"d{i:03}": i % 3 for i in range(3)}
    hands(write, local, "d", 3).done()
    committer = hands(fold_once, local)
    assert committer.strike((Path(local.url) / "tables/steps/_delta_log").exists)
    committer.rest()
    with pytest.raises(fold.BusyError, match="is folding this store, last seen"):
        fold.fold(local)
    assert marks(local) == expected
    held = json.loads(local.get(fold.LEASE))
    local.put(fold.LEASE, json.dumps({**held, "at": held["at"] - fold.LEASE_SECONDS}).encode())
    assert_all_is_folded_once(local, expected)
    with pytest.raises(KeyError):
        local.get(fold.LEASE)


@pytest.mark.parametrize("place", ["local", pytest.param("remote", marks=pytest.mark.slow)])
def test_a_late_attempt_is_read_neither_before_nor_after_a_fold_nor_from_new_tables(
    place: str, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(place)
    ledger = Ledger(store)
    assert commit(ledger, "d0", 2)
    assert not commit(ledger, "d0", 1)
    assert marks(store) == {"d0": 2}
    assert fold.fold(store) == 1
    assert not commit(ledger, "d0", 0)
    assert commit(ledger, "d1", 1)
    assert fold.fold(store) == 1
    expected = {"d0": 2, "d1": 1}
    assert marks(store) == expected
    for key in store.list("tables/"):
        store.delete(key)
    assert marks(store) == expected
    assert fold.rebuild(store) == 2
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
def test_a_better_outcome_replaces_a_folded_worse_one_wherever_it_is_folded(
    local: Store, worse: Outcome
) -> None:
    ledger = Ledger(local)
    for mark in (1, 2) if worse == "failed" else (1,):
        commit(ledger, "d0", mark, worse)
        fold.fold(local)
    assert marks(local) in ({"d0": 1}, {"d0": 2}), "of two that failed in a second, either"
    commit(ledger, "d0", 0)
    assert marks(local) == {"d0": 0}
    for change in (fold.fold, fold.compact, fold.rebuild):
        change(local)
        assert marks(local) == {"d0": 0}
    assert found(local) == []

"""A store that is away, slow, read-only, full or flaky: writers wait, and no row is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Literal

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store, StoreError
from orchestrator.tables import compaction
from orchestrator.tables.integrity import Check
from tests.conftest import Segprint
from tests.faults.conftest import Hands
from tests.faults.hands import commit, filled, marks, write
from tests.faults.proxy import Fault, Match, Proxy, to

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_writers_wait_for_a_store_that_is_away_and_lose_nothing(
    remote: Store, proxy: Proxy, hands: Hands, seconds: float
) -> None:
    writers, count = 4, 8
    crew = [hands(write, remote.patient(300), f"w{i}-", count) for i in range(writers)]
    told = [hand.next() for hand in crew]
    proxy.dead = True
    time.sleep(seconds)  # this is the drill, not a wait for something
    known = [*told, *(digest for hand in crew for digest in hand.told())]
    assert len(known) < writers * count, "all were done before the store went away"
    proxy.dead = False
    known += [digest for hand in crew for digest in hand.done()]
    expected = {f"w{i}-{n:03}": n % 3 for i in range(writers) for n in range(count)}
    assert sorted(known) == sorted(expected)
    assert marks(remote) == expected
    assert list(Check(remote).run()) == []


def test_a_slow_store_is_slow_and_nothing_else(remote: Store, proxy: Proxy) -> None:
    proxy.latency = 0.3
    assert commit(Ledger(remote), "d0", 1)
    assert marks(remote) == {"d0": 1}


def test_a_read_only_store_is_one_clear_line_at_once(
    remote: Store, proxy: Proxy, inline: Segprint
) -> None:
    expected = filled(remote, 1, compacted=False)
    fault = proxy.fault(Fault("refuse", to("PUT"), times=None, status=403))
    for change in (
        lambda: commit(Ledger(remote.patient(60)), "d1", 1),
        lambda: compaction.compact_committed(remote),
    ):
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"cannot write .*: Access Denied.; check the bucket"):
            change()
        assert time.monotonic() - began < 30
    assert fault.hits == 2, "nothing was tried again"
    said = inline("--store", remote.url, "tables", "compact")
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert marks(remote) == expected
    assert list(Check(remote).run()) == []


def test_a_full_store_is_waited_for_until_there_is_room(
    remote: Store, proxy: Proxy, hands: Hands
) -> None:
    fault = proxy.fault(Fault("refuse", to("PUT"), times=None, status=507))
    with pytest.raises(StoreError, match="cannot write trials/d0/.*minimum free drive threshold"):
        commit(Ledger(remote.patient(0.5)), "d0", 1)
    assert remote.list("commits/") == []
    before = fault.hits
    writer = hands(write, remote.patient(60), "d", 2)
    eventually(lambda: fault.hits > before + 2)
    proxy.heal()
    assert writer.done() == ["d000", "d001"]
    assert marks(remote) == {"d000": 0, "d001": 1}


def test_in_a_storm_of_refusals_every_commit_and_compaction_succeeds_in_the_end(
    remote: Store, proxy: Proxy
) -> None:
    rng, share = random.Random(1), 0.3
    store = remote.patient(60)
    fault = proxy.fault(Fault("refuse", lambda *_: rng.random() < share, times=None, status=503))
    expected = filled(store, 10, compacted=False)
    assert marks(store) == expected
    share = 0.1  # a compaction makes hundreds of requests
    assert compaction.compact_committed(store) == 10
    assert marks(store) == expected
    assert list(Check(store).run()) == []
    assert fault.hits > 20


def test_commits_whose_answers_are_lost_count_once_and_their_writers_know_it(
    remote: Store, proxy: Proxy, hands: Hands
) -> None:
    fault = proxy.fault(Fault("lose", first_of_each("PUT", "/"), times=None))
    crew = [hands(write, remote, f"w{i}-", 3) for i in range(2)]
    known = [digest for hand in crew for digest in hand.done()]  # each was told that it won
    assert fault.hits == 6 * 4, "three parts and a record"
    assert sorted(known) == sorted(marks(remote))
    assert list(Check(remote).run()) == []


def test_answers_that_end_early_are_read_again(remote: Store, proxy: Proxy) -> None:
    expected = filled(remote, 3, compacted=False)
    root = remote.url.rpartition("/")[2]
    ours = first_of_each("GET", f"{root}/trials/", f"{root}/commits/")
    fault = proxy.fault(Fault("truncate", ours, times=None))
    assert marks(remote) == expected
    assert list(Check(remote).run()) == []
    assert fault.hits == 3 * (3 + 1) + 2, "parts and records, and their listings"


@pytest.mark.parametrize(
    "kind",
    [
        "reset",
        "truncate",
    ],
)
def test_a_reader_goes_on_after_one_broken_answer_with_a_log(
    remote: Store, proxy: Proxy, kind: Literal["reset", "truncate"]
) -> None:
    expected = filled(remote, 1)
    fault = proxy.fault(Fault(kind, to("GET", "_delta_log/0"), keep=-1))
    assert marks(remote) == expected
    assert fault.hits == 1


def test_a_compaction_whose_answer_is_lost_goes_on(remote: Store, proxy: Proxy) -> None:
    expected = filled(remote, 2, compacted=False)
    compaction.compact_committed(remote)
    commit(Ledger(remote), "d2", 2)
    proxy.fault(Fault("lose", to("PUT", "/tables/steps/_delta_log/")))
    compaction.compact_committed(remote)
    assert marks(remote) == {**expected, "d2": 2}


def eventually(happened: Callable[[], bool], patience: float = 60) -> None:
    deadline, pause = time.monotonic() + patience, threading.Event()
    while not happened():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def first_of_each(method: str, *places: str) -> Match:
    """The first request for each object below some places."""
    seen = set[tuple[str, str]]()

    def match(m: str, path: str) -> bool:
        new = m == method and (m, path) not in seen and any(place in path for place in places)
        if new:
            seen.add((m, path))
        return new

    return match

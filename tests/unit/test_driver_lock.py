"""One driver per study: the next one comes when the first is gone, and not before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.ledger import driver_lock, signs_of_life
from orchestrator.ledger.driver_lock import DriverLock, LostError, current_driver, locked
from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.storage.object_store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def silent(_: str) -> None:
    raise AssertionError("it must not wait")


def test_a_study_has_a_driver_inside_the_block_and_none_after_it(store: Store) -> None:
    with locked(store, "s", silent):
        driver = current_driver(store, "s")
        assert driver is not None
        assert driver.process.pid == os.getpid()
        with locked(store, "other", silent):
            pass
    assert current_driver(store, "s") is None
    with locked(store, "s", silent):
        pass
    assert len(store.list("drivers/s/")) == 1, "locks that are released do not accumulate"


def test_the_second_driver_waits_and_then_drives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lock, "POLL_SECONDS", 0.01)
    waits, drives = threading.Event(), threading.Event()

    def second() -> None:
        with locked(store, "s", lambda _: waits.set()):
            drives.set()

    with locked(store, "s", silent):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert not drives.is_set()
    assert drives.wait(10)
    thread.join()


def test_a_killed_drivers_study_is_free_at_once(store: Store) -> None:
    code = (
        "import os, sys; from orchestrator.ledger.driver_lock import locked\n"
        "from orchestrator.storage.object_store import Store\n"
        "with locked(Store(sys.argv[1]), 's', print): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, store.url], check=False)
    assert killed.returncode == -9
    assert len(store.list("drivers/s/")) == 1
    assert current_driver(store, "s") is None
    with locked(store, "s", silent):
        assert current_driver(store, "s") is not None
    assert current_driver(store, "s") is None


def elsewhere(store: Store, number: int, at: float) -> None:
    """A claim of a process on another machine."""
    about = {"host": "far", "machine": "other boot", "pid": 1, "born": "1", "at": at}
    store.put(f"drivers/s/{number:06d}.json", json.dumps(about).encode())


def test_another_machines_claim_lapses_when_it_is_not_renewed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour, waited = 3600.0, list[float]()
    monkeypatch.setattr(signs_of_life, "now", lambda: sum(waited))
    elsewhere(store, 1, time.time() - hour)  # its clock may be an hour behind: it is watched first

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if sum(waited) < hour:  # it lives
            elsewhere(store, 1, time.time() - hour + sum(waited))

    monkeypatch.setattr(signs_of_life, "pause", pause)
    with locked(store, "s", lambda _: None) as claim:
        assert claim.number == 2
    least = hour + 1.5 * driver_lock.LAPSE_SECONDS  # the other driver needs time to notice
    assert least - 2 < sum(waited) < least + 3


def test_a_driver_that_slept_through_its_lease_notices_before_it_acts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = 0.0
    monkeypatch.setattr(signs_of_life, "now", lambda: slept)
    sleeper = driver_lock.acquire(store, "s", silent)
    sleeper.check()
    slept = 10 * driver_lock.LAPSE_SECONDS
    store.delete(sleeper.key)  # another driver came, went, and the next one took the same number
    elsewhere(store, 1, 0.0)
    with pytest.raises(LostError):
        sleeper.check()
    sleeper.release()
    assert store.list("drivers/s/") == ["drivers/s/000001.json"], "the next driver's lock"


def test_a_process_that_lives_here_keeps_its_claim_while_the_store_is_away(store: Store) -> None:
    late = {
        **ProcessIdentity.current().fields(),
        "at": time.time() - 10 * driver_lock.LAPSE_SECONDS,
    }
    store.put("drivers/s/000001.json", json.dumps(late).encode())
    driver = current_driver(store, "s")
    assert driver is not None
    assert driver.process.pid == os.getpid()


def test_whoever_was_taken_over_notices_and_stops(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lock, "RENEW_SECONDS", 0.01)
    with locked(store, "s", silent) as claim:
        claim.check()
        elsewhere(store, claim.number + 1, 0.0)
        assert claim.lost.wait(10)
        with pytest.raises(LostError, match="another driver has taken it over"):
            claim.check()
    assert store.list("drivers/s/") == [f"drivers/s/{claim.number + 1:06d}.json"]


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of drivers that wait; nobody waits in truth."""
    pauses = list[float]()
    monkeypatch.setattr(signs_of_life, "now", lambda: sum(pauses))
    monkeypatch.setattr(signs_of_life, "pause", pauses.append)
    return pauses


def test_a_damaged_claim_holds_nobody_up_for_longer_than_its_driver_may_act(
    store: Store, waited: list[float]
) -> None:
    with locked(store, "s", silent) as sleeper:
        store.put(sleeper.key, b"{")
        with locked(store, "s", silent) as claim:
            assert claim.number == 2
            with pytest.raises(LostError):
                sleeper.check()


def test_a_driver_elsewhere_keeps_its_study_when_the_store_was_away_or_who_waits_slept(
    store: Store, waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = 4000.0

    def pause(seconds: float) -> None:
        slept = len(waited) % 100 == 50
        waited.append(1000.0 if slept else seconds)
        if sum(waited) < ends and not slept:  # else it renews its lock a moment later
            elsewhere(store, 1, sum(waited))

    monkeypatch.setattr(signs_of_life, "pause", pause)
    elsewhere(store, 1, 0.0)
    with locked(store, "s", lambda _: None):
        assert sum(waited) > ends


def test_who_gives_up_waiting_leaves_a_free_study_whose_first_driver_still_has_time(
    store: Store, waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(store, 1, 0.0)

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if seconds > driver_lock.POLL_SECONDS:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(signs_of_life, "pause", pause)
        with pytest.raises(KeyboardInterrupt), locked(store, "s", lambda _: None):
            pass
    assert current_driver(store, "s") is None
    before = sum(waited)
    with locked(store, "s", silent):
        assert sum(waited) - before > driver_lock.LAPSE_SECONDS / 2


def test_a_driver_whose_renewal_arrives_twice_notices_that_others_came_and_went(
    store: Store, waited: list[float]
) -> None:
    sleeper = driver_lock.acquire(store, "s", silent)
    renewal = store.get(sleeper.key)
    for number in (2, 3, 4):
        elsewhere(store, number, 0.0)
    store.delete(sleeper.key)
    last = DriverLock(store, "s", 4, 0.0, claim="")
    last.release()
    assert store.list("drivers/s/") == ["drivers/s/000004.json"]
    store.put(sleeper.key, renewal)
    waited.append(driver_lock.LAPSE_SECONDS)
    with pytest.raises(LostError):
        sleeper.check()


def test_a_process_of_another_user_that_proc_hides_is_not_taken_for_dead(tmp_path: Path) -> None:
    code = """
import dataclasses, os, pathlib, sys
from orchestrator.ledger import process_identity
me = process_identity.ProcessIdentity.current()
process_identity.PROC = pathlib.Path(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)
for pid in (1, 2**22 + 1):
    process = dataclasses.replace(me, pid=pid)
    print(process.dead(), process.alive())
"""
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert shown.stdout.split() == ["False", "False", "True", "False"]

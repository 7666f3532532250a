"""The driver lock: one process at a time drives a study.

A driver creates ``drivers/STUDY/NUMBER.json``, only if it is absent, and renews it while it runs.
The lock of a process of this machine is valid while that process lives; the lock of another
machine lapses when it is not renewed. The next driver then takes the next number. A driver that
sees a higher number than its own has lost the study and stops. Commits do not depend on the lock:
it prevents work from being done twice, and lets one search see all trials of its study.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.storage.object_store import Store, StoreError

RENEW_SECONDS = 10.0
LAPSE_SECONDS = 60.0
"""The lock of another machine lapses after so long without renewal; clocks may differ a little."""
POLL_SECONDS = 1.0
"""Pause of a driver that waits for another one."""


class LostError(ValueError):
    """Another driver has taken the study over."""


@dataclass(frozen=True)
class Driver:
    """The process that holds a lock, and when it last renewed it, in seconds since 1970."""

    process: ProcessIdentity
    at: float

    @staticmethod
    def load(value: bytes) -> Driver | None:
        """Read a lock; a damaged one counts as none."""
        try:
            content = json.loads(value)
            if not {"host", "machine", "pid", "born"} <= content.keys():
                return None
            return Driver(ProcessIdentity.parse(content), float(content["at"]))
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    def gone(self) -> bool:
        """Whether the lock is free: its process is dead, or lives elsewhere and has let it lapse.

        A process of this machine that lives keeps its lock however long the store was away.
        """
        if self.process.dead():
            return True
        return not self.process.alive() and abs(time.time() - self.at) > LAPSE_SECONDS


@dataclass
class DriverLock:
    """A lock that this process holds on a study."""

    store: Store
    study: str
    number: int
    claim: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Distinguishes locks of the same process."""
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        """Where the lock is stored."""
        return _key(self.study, self.number)

    def check(self) -> None:
        """Raise :class:`LostError` if another driver has taken the study over."""
        if self.lost.is_set():
            raise LostError(f"study {self.study}: another driver has taken it over")

    def dump(self) -> bytes:
        """Return the lock as it is stored, renewed just now."""
        process = ProcessIdentity.current().fields()
        return json.dumps({**process, "claim": self.claim, "at": time.time()}).encode()

    def renew_until(self, ended: threading.Event) -> None:
        """Renew the lock until ``ended``; it may lapse while the store is away."""
        while not ended.wait(RENEW_SECONDS):
            try:
                if max(_numbers(self.store, self.study), default=0) > self.number:
                    self.lost.set()
                    return
                self.store.put(self.key, self.dump())
            except StoreError:
                continue


@contextmanager
def locked(store: Store, study: str, on_wait: Callable[[str], None]) -> Generator[DriverLock]:
    """Hold the lock of a study inside the block.

    Waits while another process holds it, and calls ``on_wait`` once with a text that names it.
    """
    lock = _acquire(store, study, on_wait)
    ended = threading.Event()
    renewed = DriverLock(store.patient(0), study, lock.number, lock.claim, lock.lost)
    thread = threading.Thread(
        target=renewed.renew_until, args=[ended], name="driver-lock", daemon=True
    )
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join()
        for number in _numbers(store, study):
            if number <= lock.number:
                store.delete(_key(study, number))


def _acquire(store: Store, study: str, on_wait: Callable[[str], None]) -> DriverLock:
    waiting = False
    while True:
        last = max(_numbers(store, study), default=0)
        driver = _load(store, study, last) if last else None
        if driver is None or driver.gone():
            lock = DriverLock(store, study, last + 1)
            if store.create(lock.key, lock.dump()):
                return lock
            continue
        if not waiting:
            on_wait(f"process {driver.process.pid} on {driver.process.host}")
            waiting = True
        time.sleep(POLL_SECONDS)


def current_driver(store: Store, study: str) -> Driver | None:
    """Return who drives a study, if anybody does."""
    last = max(_numbers(store, study), default=0)
    driver = _load(store, study, last) if last else None
    return None if driver is None or driver.gone() else driver


def _key(study: str, number: int) -> str:
    return f"drivers/{study}/{number:06d}.json"


def _numbers(store: Store, study: str) -> list[int]:
    names = [
        key.rpartition("/")[2].removesuffix(".json") for key in store.list(f"drivers/{study}/")
    ]
    return [int(name) for name in names if name.isdigit()]


def _load(store: Store, study: str, number: int) -> Driver | None:
    """Return a lock's driver; None if the lock was deleted since it was listed, or is damaged."""
    try:
        return Driver.load(store.get(_key(study, number)))
    except KeyError:
        return None

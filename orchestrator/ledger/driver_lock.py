"""The driver lock: one process at a time drives a study.

A driver creates ``drivers/STUDY/NUMBER.json``, only if it is absent, and renews it while it runs.
The lock of a process of this machine is valid while that process lives; the lock of another
machine lapses when the next driver, on its own clock, has not seen it change for a while. The next
driver then takes the next number, and waits until the one before it must have noticed. A driver
that sees the next number, or not its own lock under its number, has lost the study and stops. A
driver that ends leaves a mark under its number, so that a number is never used twice. Commits do
not depend on the lock: it prevents work from being done twice, and lets one search see all trials
of its study.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from orchestrator.ledger import signs_of_life
from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.ledger.signs_of_life import SignOfLife
from orchestrator.storage.object_store import Store, StoreError

RENEW_SECONDS = 10.0
LAPSE_SECONDS = 60.0
"""The lock of another machine lapses after it was seen unchanged for so long."""
LOOK_SECONDS = 4.0
"""A driver that must look before it acts retries for so long: one failed request proves nothing."""
POLL_SECONDS = 1.0
"""Pause of a driver that waits for another one."""


RELEASED = json.dumps({"released": True}).encode()


class LostError(ValueError):
    """Another driver has taken the study over."""


@dataclass(frozen=True)
class Driver:
    """The process that holds a lock, and when it last renewed it, in seconds on its clock."""

    process: ProcessIdentity
    at: float
    claim: str = ""

    @staticmethod
    def load(value: bytes) -> Driver | None:
        """Read a lock; a damaged one counts as none."""
        try:
            content = json.loads(value)
            if not {"host", "machine", "pid", "born"} <= content.keys():
                return None
            process, claim = ProcessIdentity.parse(content), str(content.get("claim", ""))
            return Driver(process, float(content["at"]), claim)
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    @property
    def age(self) -> float:
        """Seconds since it was last renewed, by the clocks of both machines."""
        return abs(time.time() - self.at)

    def gone(self, unchanged: float) -> bool:
        """Whether the lock is free: its process is dead, or lives elsewhere and has let it lapse.

        ``unchanged``: seconds for which the lock was seen as it is. A process of this machine that
        lives keeps its lock however long the store was away.
        """
        if self.process.dead():
            return True
        return not self.process.alive() and unchanged >= LAPSE_SECONDS


@dataclass
class DriverLock:
    """A lock that this process holds on a study."""

    store: Store
    study: str
    number: int
    looked_at: float
    """A time on this process's clock before it last saw that it has the lock."""
    claim: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Distinguishes locks of the same process."""
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        """Where the lock is stored."""
        return _key(self.study, self.number)

    def check(self) -> None:
        """Raise :class:`LostError` if another driver has taken the study over.

        A process that slept looks at the store first, in case its lock has lapsed meanwhile.
        """
        if signs_of_life.now() - self.looked_at > LAPSE_SECONDS / 2:
            with suppress(StoreError):  # a store that is away for everybody has no other driver
                self.look(LOOK_SECONDS)
        if self.lost.is_set():
            raise LostError(f"study {self.study}: another driver has taken it over")

    def dump(self) -> bytes:
        """Return the lock as it is stored, renewed just now."""
        process = ProcessIdentity.current().fields()
        return json.dumps({**process, "claim": self.claim, "at": time.time()}).encode()

    def look(self, patience: float | None = None) -> None:
        """Set ``lost`` if another driver has taken the study over, or had and is done.

        ``patience``: the seconds for which failed requests are retried, if not the store's.
        """
        started = signs_of_life.now()
        store = self.store if patience is None else self.store.patient(patience)
        # The number after this one may be deleted already, and a listing may lack a new one.
        later = store.get_many([_key(self.study, self.number + 1)])
        last = max(_numbers(store, self.study), default=0)
        if later or last > self.number or not self._mine(store):
            self.lost.set()
        else:
            self.looked_at = started

    def _mine(self, store: Store) -> bool:
        driver = _load(store, self.study, self.number)
        return driver is not None and driver.claim == self.claim

    def renew(self) -> None:
        """Renew the lock unless it is lost."""
        self.look()
        if not self.lost.is_set():
            self.store.put(self.key, self.dump())

    def renew_until(self, ended: threading.Event) -> None:
        """Renew the lock until ``ended``; it may lapse while the store is away."""
        while not self.lost.is_set() and not ended.wait(RENEW_SECONDS):
            with suppress(StoreError):
                self.renew()

    def withdraw(self) -> None:
        """Mark the lock as released; whoever comes next has to wait for those before it."""
        if self._mine(self.store):
            self.store.put(self.key, RELEASED)

    def release(self) -> None:
        """Mark the lock as released unless another driver came since; delete those before it."""
        numbers, mine = _numbers(self.store, self.study), self._mine(self.store)
        last = self.number == max(numbers, default=0)
        if mine and last:
            self.store.put(self.key, RELEASED)
        for number in numbers:
            if number < self.number or (mine and not last and number == self.number):
                self.store.delete(_key(self.study, number))


@contextmanager
def locked(store: Store, study: str, on_wait: Callable[[str], None]) -> Generator[DriverLock]:
    """Hold the lock of a study inside the block.

    Waits while another process holds it, and calls ``on_wait`` once with a text that names it.
    """
    lock = acquire(store, study, on_wait)
    lock.store = store.patient(0)
    ended = threading.Event()
    thread = threading.Thread(
        target=lock.renew_until, args=[ended], name="driver-lock", daemon=True
    )
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join()
        lock.store = store
        lock.release()


def acquire(store: Store, study: str, on_wait: Callable[[str], None]) -> DriverLock:
    """Return the lock of a study, which this process holds from then on; see :func:`locked`."""
    waiting, seen = False, SignOfLife()
    while True:
        last = max(_numbers(store, study), default=0)
        driver = _load(store, study, last) if last else None
        if driver is None or driver.gone(seen.unchanged((last, driver))):
            lock = DriverLock(store, study, last + 1, signs_of_life.now())
            try:
                if store.create(lock.key, lock.dump()):
                    _wait_until_noticed(lock)
                    lock.look()  # where a store lets several creators win, the last one has it
                    if not lock.lost.is_set():
                        return lock
            except BaseException:  # this process may live on, and would wait for itself
                with suppress(StoreError):
                    lock.withdraw()
                raise
            continue
        if not waiting:
            on_wait(f"process {driver.process.pid} on {driver.process.host}")
            waiting = True
        signs_of_life.pause(POLL_SECONDS)


def _wait_until_noticed(lock: DriverLock) -> None:
    """Wait until no driver before this one can act without having seen its lock.

    A driver that slept may have looked for the next lock just before that was created.
    """
    keys = [_key(lock.study, number) for number in _numbers(lock.store, lock.study)]
    values = lock.store.get_many(keys).values()
    drivers = [Driver.load(value) for value in values if value != RELEASED]
    if any(d is None or (d.claim != lock.claim and not d.process.dead()) for d in drivers):
        signs_of_life.pause(LAPSE_SECONDS / 2 + POLL_SECONDS)
        lock.renew()


def last_driver(store: Store, study: str) -> Driver | None:
    """Return who drives a study, or drove it last and has not ended in order; None if nobody."""
    last = max(_numbers(store, study), default=0)
    return _load(store, study, last) if last else None


def current_driver(store: Store, study: str) -> Driver | None:
    """Return who drives a study, if anybody does; decides at once, by the clocks of both machines.

    For messages only: of a driver elsewhere, whose clock may differ, only :func:`acquire` can know.
    """
    driver = last_driver(store, study)
    return None if driver is None or driver.gone(driver.age) else driver


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

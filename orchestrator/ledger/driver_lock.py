"""Who drives a study: one process at a time, and whoever comes next once that one is gone.

A driver claims ``drivers/STUDY/NUMBER.json``, created only if absent, and renews it while it lives.
The claim of a process of this machine is good for as long as that process lives; another machine's
lapses when it is not renewed. The next driver then takes the next number. Whoever finds a number
above its own has lost the study and stops. Commits do not depend on this: it spares double work,
and gives a search one memory.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger.process_identity import alive, dead, myself
from orchestrator.storage.object_store import Store, StoreError

RENEW_SECONDS = 10.0
LAPSE_SECONDS = 60.0
"""Without a renewal, a driver on another machine is taken for dead; clocks may differ a little."""
LOOK_SECONDS = 1.0
"""Between two looks at a study that somebody else drives."""


class LostError(ValueError):
    """Another driver has taken the study over."""


@dataclass
class DriverLock:
    """A process's claim on a study."""

    store: Store
    study: str
    number: int
    about: dict[str, Any]
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        return _key(self.study, self.number)

    def check(self) -> None:
        """Raise :class:`LostError` if the study is somebody else's by now."""
        if self.lost.is_set():
            raise LostError(f"study {self.study}: another driver has taken it over")

    def renew(self, ended: threading.Event) -> None:
        """Keep the claim until ``ended``; a store that is away delays it, and it may lapse."""
        while not ended.wait(RENEW_SECONDS):
            try:
                if max(_numbers(self.store, self.study), default=0) > self.number:
                    self.lost.set()
                    return
                self.store.put(self.key, self.content())
            except StoreError:
                continue

    def content(self) -> bytes:
        """As stored: who, and when last seen."""
        return json.dumps({**self.about, "at": time.time()}).encode()


@contextmanager
def claimed(store: Store, study: str, waits: Callable[[str], None]) -> Generator[DriverLock]:
    """Drive a study alone inside the block.

    Waits while another process does, and calls ``waits`` once with who that is.
    """
    claim = _claim(store, study, waits)
    ended = threading.Event()
    impatient = DriverLock(store.patient(0), study, claim.number, claim.about, claim.lost)
    thread = threading.Thread(target=impatient.renew, args=[ended], name="claim", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        ended.set()
        thread.join()
        for number in _numbers(store, study):
            if number <= claim.number:
                store.delete(_key(study, number))


def _claim(store: Store, study: str, waits: Callable[[str], None]) -> DriverLock:
    told = False
    while True:
        last = max(_numbers(store, study), default=0)
        holder = _holder(store, study, last) if last else None
        if holder is None or _gone(holder):
            claim = DriverLock(store, study, last + 1, {**myself(), "claim": uuid.uuid4().hex})
            if store.create(claim.key, claim.content()):
                return claim
            continue
        if not told:
            waits(f"process {holder['pid']} on {holder['host']}")
            told = True
        time.sleep(LOOK_SECONDS)


def driver_of(store: Store, study: str) -> dict[str, Any] | None:
    """Who drives a study now (``host``, ``pid``, ``at``), if anybody does."""
    last = max(_numbers(store, study), default=0)
    holder = _holder(store, study, last) if last else None
    return None if holder is None or _gone(holder) else holder


def _key(study: str, number: int) -> str:
    return f"drivers/{study}/{number:06d}.json"


def _numbers(store: Store, study: str) -> list[int]:
    names = [
        key.rpartition("/")[2].removesuffix(".json") for key in store.list(f"drivers/{study}/")
    ]
    return [int(name) for name in names if name.isdigit()]


def _holder(store: Store, study: str, number: int) -> dict[str, Any] | None:
    """Who made a claim; None if it ended since, or does not read."""
    try:
        about = json.loads(store.get(_key(study, number)))
        return about if {"host", "machine", "pid", "born", "at"} <= about.keys() else None
    except (KeyError, ValueError, AttributeError):
        return None


def _gone(holder: dict[str, Any]) -> bool:
    """Whether a claim has lapsed; on this machine, whether its process is dead.

    A process that lives keeps its claim however long the store was away.
    """
    if dead(holder):
        return True
    return not alive(holder) and abs(time.time() - float(holder["at"])) > LAPSE_SECONDS

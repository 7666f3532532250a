"""The committer's lease: usually one process at a time writes to the tables.

The lease only saves double work. The logs of the tables keep commits in order without it, so a
lease that was lost or ignored does no harm. A recent lease is respected at once. An older one, or
one from the future, may come from a living process with another clock: it is taken over only after
it did not change for a while on this process's clock, or if its process is known to be dead.
"""

from __future__ import annotations

import json
import math
import os
import socket
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.ledger import signs_of_life
from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.ledger.signs_of_life import SignOfLife
from orchestrator.storage.object_store import Store
from orchestrator.tables.log_seal import ROOT

KEY = f"{ROOT}committer.json"
LEASE_SECONDS = 120.0
SKEW_SECONDS = 60.0
"""A lease from further in the future comes from another clock."""
POLL_SECONDS = 1.0
"""Pause of a process that looks whether an old lease is renewed."""


class BusyError(RuntimeError):
    """Another process writes to the tables at the moment."""


@dataclass(frozen=True)
class CommitterLease:
    """The content of the lease: the holder, and when it renewed it, in seconds on its clock."""

    who: str
    at: float
    process: ProcessIdentity

    @staticmethod
    def read(store: Store) -> CommitterLease | None:
        """Return a store's lease; None if there is none, or a damaged one."""
        try:
            content = json.loads(store.get(KEY))
            process = ProcessIdentity.parse(content.get("process", {}))
            return CommitterLease(str(content["who"]), float(content["at"]), process)
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    def dump(self) -> bytes:
        """Return the lease as it is stored."""
        content = {"who": self.who, "at": self.at, "process": self.process.fields()}
        return json.dumps(content).encode()

    def recent(self) -> bool:
        """Whether it was renewed just now, if the clocks of both machines agree."""
        return -SKEW_SECONDS < _now() - self.at < LEASE_SECONDS


@contextmanager
def committer(store: Store) -> Generator[Callable[[], None]]:
    """Hold the lease inside the block; yields a function that renews it when that is due.

    Raises:
        BusyError: another process holds it.
    """
    me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    _wait_until_free(store)
    renewed = -math.inf

    def renew() -> None:
        nonlocal renewed
        if signs_of_life.now() - renewed > LEASE_SECONDS / 8:
            renewed = signs_of_life.now()
            store.put(KEY, CommitterLease(me, _now(), ProcessIdentity.current()).dump())

    renew()
    try:
        yield renew
    finally:
        store.delete(KEY)


def _wait_until_free(store: Store) -> None:
    """Return once the lease is free or has lapsed; raise :class:`BusyError` if it is renewed."""
    first, seen = CommitterLease.read(store), SignOfLife()
    held = first
    while held is not None and not held.process.dead():
        if held.recent() or held != first:
            age = max(_now() - held.at, 0)
            raise BusyError(f"{held.who} is compacting this store, last seen {age:.0f} s ago")
        if seen.unchanged(held) >= LEASE_SECONDS:
            return
        signs_of_life.pause(POLL_SECONDS)
        held = CommitterLease.read(store)


def _now() -> float:
    return datetime.now(UTC).timestamp()

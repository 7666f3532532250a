"""The committer's lease: usually one process at a time writes to the tables.

The lease only saves double work. The logs of the tables keep commits in order without it, so a
lease that was lost or ignored does no harm.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from orchestrator.storage.object_store import Store
from orchestrator.tables.log_seal import ROOT

KEY = f"{ROOT}committer.json"
LEASE_SECONDS = 120.0
SKEW_SECONDS = 60.0
"""A lease from further in the future comes from a wrong clock, and does not count."""


class BusyError(RuntimeError):
    """Another process writes to the tables at the moment."""


@dataclass(frozen=True)
class CommitterLease:
    """The content of the lease: the holder, and when it renewed it, in seconds since 1970."""

    who: str
    at: float

    @staticmethod
    def read(store: Store) -> CommitterLease | None:
        """Return a store's lease; None if there is none, or a damaged one."""
        try:
            content = json.loads(store.get(KEY))
            return CommitterLease(str(content["who"]), float(content["at"]))
        except (KeyError, ValueError, TypeError):
            return None


@contextmanager
def committer(store: Store) -> Generator[Callable[[], None]]:
    """Hold the lease inside the block; yields a function that renews it when that is due.

    Raises:
        BusyError: another process holds it.
    """
    me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    held = CommitterLease.read(store)
    if held is not None and -SKEW_SECONDS < (age := _now() - held.at) < LEASE_SECONDS:
        raise BusyError(f"{held.who} is compacting this store, last seen {age:.0f} s ago")

    renewed = -math.inf

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > LEASE_SECONDS / 8:
            renewed = time.monotonic()
            store.put(KEY, json.dumps(asdict(CommitterLease(me, _now()))).encode())

    renew()
    try:
        yield renew
    finally:
        store.delete(KEY)


def _now() -> float:
    return datetime.now(UTC).timestamp()

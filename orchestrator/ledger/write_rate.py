"""The conditional writes per second that a store takes, as ``segprint doctor`` last measured them.

``doctor.json`` remembers the rate, so that a plan, which writes nothing, can compare with it.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from orchestrator.ledger.stored_json import dump_object
from orchestrator.storage.object_store import Store

KEY = "doctor.json"
WRITES = 10
"""Objects that a measurement creates and deletes."""


@dataclass(frozen=True)
class WriteRate:
    """A measured rate of writes, one after another from one machine."""

    per_second: float
    host: str
    """The machine that measured it."""
    at: str
    """When it was measured."""

    @staticmethod
    def remembered(store: Store) -> WriteRate | None:
        """Return the last measured rate; None if there is none, or a damaged one."""
        try:
            content = json.loads(store.get(KEY))
            rate = WriteRate(float(content["per_second"]), str(content["host"]), str(content["at"]))
        except (KeyError, ValueError, TypeError, RecursionError):
            return None
        return rate if math.isfinite(rate.per_second) and rate.per_second > 0 else None


def measure(store: Store, host: str) -> WriteRate:
    """Create some objects below ``checks/`` as commit records are created, and delete them."""
    keys = [f"checks/{uuid.uuid4().hex}" for _ in range(WRITES)]
    try:
        began = time.perf_counter()
        for key in keys:
            store.create(key, b"")
        seconds = time.perf_counter() - began
    finally:
        for key in keys:
            store.delete(key)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    rate = WriteRate(round(WRITES / seconds, 1), host, at)
    store.put(KEY, dump_object(asdict(rate)))
    return rate

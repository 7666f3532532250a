"""Simulated machines: one true time, and clocks, process numbers and random numbers that repeat.

Every module of the ledger and the tables that looks at a clock or at the processes of its machine
receives the simulated ones, so that a sequence of steps always runs the same.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable
from datetime import datetime, tzinfo
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from orchestrator.ledger import driver_lock, leases, ledger, process_identity, signs_of_life
from orchestrator.storage import retry
from orchestrator.tables import (
    batch_selection,
    committer_lease,
    compaction,
    delta_commit,
    lost_records,
    vacuum,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

SKEWS = (0.0, 3000.0, -3000.0)
"""How far the wall clock of each machine is ahead, in seconds."""
DATED = (ledger, leases, committer_lease, batch_selection, lost_records, vacuum)
"""The modules that read ``datetime.now``."""
TIMED = (driver_lock, compaction, delta_commit, retry)
"""The modules that use ``time``."""


def install(world: World, patch: pytest.MonkeyPatch) -> None:
    """Give the modules under test the clocks and the processes of a world."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(world.wall(), tz)

    timing = SimpleNamespace(time=world.wall, monotonic=world.steady, sleep=world.sleep)
    for module in DATED:
        patch.setattr(module, "datetime", Clock)
    for module in TIMED:
        patch.setattr(module, "time", timing)
    patch.setattr(signs_of_life, "now", world.steady)
    patch.setattr(signs_of_life, "pause", world.pause)
    patch.setattr(process_identity, "_machine", lambda: f"machine {world.process.machine}")
    patch.setattr(process_identity, "_born", _born(world))
    system = SimpleNamespace(getpid=lambda: world.process.pid, readlink=os.readlink)
    patch.setattr(process_identity, "os", system)
    numbers = random.Random(0)
    patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=numbers.getrandbits(128), version=4))


def _born(world: World) -> Callable[[int], str | None]:
    """Return the table of the living processes of the machine of the current process."""

    def born(pid: int) -> str | None:
        process = world.processes.get(pid)
        if process is None or process.machine != world.process.machine or not process.alive:
            return None
        return str(pid)

    return born

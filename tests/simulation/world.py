"""A simulated world: a bucket, machines, and processes that use the real ledger and tables.

A process runs until it ends or dies. What happens between two of its requests is part of its plan:
a fault, or a pause in which a process of another machine runs from its start to its end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow as pa
import pytest

from orchestrator.ledger.driver_lock import RENEW_SECONDS, DriverLock, LostError
from orchestrator.ledger.parquet import fields
from orchestrator.storage.object_store import Store, StoreError
from orchestrator.storage.s3_objects import S3Objects
from orchestrator.tables import (
    batch_selection,
    compaction,
    compaction_log,
    delta_commit,
    delta_log,
    row_removal,
)
from orchestrator.tables.committer_lease import BusyError
from orchestrator.tables.delta_commit import ConflictError
from tests.simulation import simulated_time
from tests.simulation.bucket import URL, Bucket, Object, failure
from tests.simulation.delta import SimulatedTable
from tests.simulation.history import History
from trainables.schemas import SCHEMAS

Fault = Literal["dies before", "dies after", "answer lost", "refused", "stale", "repeated late"]
FAULTS: tuple[Fault, ...] = (
    "dies before",
    "dies after",
    "answer lost",
    "refused",
    "stale",
    "repeated late",
)
DEATHS = FAULTS[:2]
TABLES = ("steps", "trials")
COLUMNS = {
    "steps": ("step", "loss_sum"),
    "trials": ("outcome", "reason", "seed", "trainings"),
}
"""The tables and columns of the simulation; the others are treated the same, and take time."""
REQUEST_SECONDS = 0.01
MOST_REQUESTS = 3000
MOST_PATIENCE = 400.0
"""Seconds after which a process that waits for another one is stopped by its user."""
Result = TypeVar("Result")


class DeathError(BaseException):
    """The process was killed."""


@dataclass(frozen=True)
class Pause:
    """A process sleeps, and another process runs meanwhile."""

    seconds: float
    action: Callable[[World], object] | None = None


Plan = Mapping[int, Fault | Pause]
"""What happens at the requests of a process, by their number."""


@dataclass
class Process:
    """A process of a machine."""

    machine: int
    pid: int
    plan: Plan = field(default_factory=dict[int, "Fault | Pause"])
    requests: int = 0
    alive: bool = True
    patience: float = MOST_PATIENCE
    is_stale: bool = False


@dataclass
class Driver:
    """A process that drives a study."""

    process: Process
    lock: DriverLock
    awake: bool = True
    renewed: float = 0.0


class World:
    """A store and everything that uses it."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0
        self.bucket = Bucket(self)
        self.history = History()
        self.other: tuple[dict[str, Object], History] | None = None
        """A copy of the store, and its history."""
        self.late: list[Callable[[], object]] = []
        self.processes: dict[int, Process] = {}
        self.drivers: list[Driver] = []
        self.attempts = self.checked = 0
        self.steps = 0
        self.process = self.start(0)
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.cache = Path(tempfile.mkdtemp(prefix="segprint-simulation-", dir=memory))
        self.patch = pytest.MonkeyPatch()
        self._install()

    def _install(self) -> None:
        simulated_time.install(self, self.patch)
        self.patch.setenv("SEGPRINT_CACHE", str(self.cache))
        self.patch.setattr(S3Objects, "_files", self.bucket)
        for name in list(SCHEMAS):
            if name not in TABLES:
                self.patch.delitem(SCHEMAS, name)
                continue
            kept = {"digest", "attempt", "task", "model", "mode", "schedule", *COLUMNS[name]}
            smaller = pa.schema([f for f in fields(SCHEMAS[name]) if f.name in kept])
            self.patch.setitem(SCHEMAS, name, smaller)
        for module in (compaction_log, compaction, batch_selection, row_removal):
            self.patch.setattr(module, "TABLES", TABLES)
        table = type("DeltaTable", (SimulatedTable,), {"bucket": self.bucket})
        for module in (delta_log, delta_commit):
            self.patch.setattr(module, "DeltaTable", table)
        self.patch.setattr(delta_log, "aws_chain", lambda _: dict[str, str]())  # pyright: ignore

    def close(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.cache, ignore_errors=True)

    @property
    def store(self) -> Store:
        """The store, as a process connects to it."""
        return Store(URL)

    # -- time ---------------------------------------------------------------------------------

    def wall(self) -> float:
        """Return the time on the wall clock of the current process's machine."""
        return self.now + simulated_time.SKEWS[self.process.machine]

    def steady(self) -> float:
        """Return the time on the steady clock of the current process's machine."""
        return self.now - 1e9 - 1e6 * self.process.machine

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pause(self, seconds: float) -> None:
        """Wait for another process; drivers that are awake renew their locks meanwhile."""
        self.now += seconds
        self.process.patience -= seconds
        if self.process.patience < 0:
            self.die()
        for driver in list(self.drivers):
            if driver.awake and self.now - driver.renewed >= RENEW_SECONDS:
                self.renew(driver, {})

    # -- processes ----------------------------------------------------------------------------

    def start(self, machine: int, plan: Plan | None = None) -> Process:
        pid = len(self.processes) + 1
        self.processes[pid] = Process(machine, pid, plan or {})
        return self.processes[pid]

    def run(self, process: Process, call: Callable[[], Result]) -> Result | None:
        """Run a process's work; None if it dies, finds another one at work, or loses its store."""
        self.steps += 1
        outer, self.process = self.process, process
        try:
            return call()
        except (DeathError, BusyError, ConflictError, StoreError, LostError):
            return None
        finally:
            self.process = outer

    def once(self, machine: int, plan: Plan, call: Callable[[], Result]) -> Result | None:
        """Run a process that ends after its work."""
        process = self.start(machine, plan)
        try:
            return self.run(process, call)
        finally:
            process.alive = False

    def die(self) -> None:
        self.process.alive = False
        raise DeathError

    def request(self, what: str, key: str, call: Callable[[], Result]) -> Result:
        """Carry a request to the bucket as the plan of the current process wants it."""
        process = self.process
        if not process.alive:
            raise DeathError
        event = process.plan.get(process.requests)
        process.requests += 1
        assert process.requests < MOST_REQUESTS, "a process does not end"
        self.now += REQUEST_SECONDS
        if isinstance(event, Pause):
            self.now += event.seconds
            if event.action is not None:
                event.action(self)
        elif event == "dies before":
            self.die()
        elif event == "refused":
            raise failure("ConditionalRequestConflict")
        process.is_stale = event == "stale"
        result = call()
        process.is_stale = False
        if event == "dies after":
            self.die()
        elif event == "repeated late" and what == "put":
            self.late.append(call)
        elif event == "answer lost":
            raise ConnectionResetError(f"{what} {key}: the answer was lost")
        return result

    def stale(self) -> bool:
        return self.process.is_stale

    def deliver(self) -> None:
        """Let requests arrive a second time, long after their answer."""
        late, self.late = self.late, []
        for call in late:
            call()

    # -- drivers ------------------------------------------------------------------------------

    def renew(self, driver: Driver, plan: Plan) -> None:
        """Let a driver renew its lock; if it pauses meanwhile, it does not renew it again."""
        driver.process.plan, driver.process.requests = plan, 0
        driver.renewed = self.now
        awake, driver.awake = driver.awake, False
        self.run(driver.process, driver.lock.renew)
        driver.awake = awake
        if not driver.process.alive and driver in self.drivers:
            self.drivers.remove(driver)

    def step(self) -> None:
        """Count a step that is not a process."""
        self.steps += 1

    def check(self) -> None:
        """Let a reader of another machine check the history, unless nothing was written since."""
        if self.bucket.changes != self.checked:
            self.history.check(self.store)
            self.checked = self.bucket.changes

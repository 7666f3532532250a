"""What processes do: each action is one process, or one moment of a driver, with its plan."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.ledger import driver_lock
from orchestrator.ledger.commits import DamagedError
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction, deletion, vacuum
from tests.simulation import damage
from tests.simulation.history import Attempt
from tests.simulation.world import Driver, Fault, Pause, Plan, World
from trainables.schemas import Outcome

STUDY = "study"


def no_plan() -> dict[int, Fault | Pause]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Action:
    """A process of a machine that runs once."""

    machine: int
    plan: Plan = field(default_factory=no_plan)

    def work(self, world: World, call: Callable[[Store], object]) -> bool:
        """Run some work; return whether it ended well."""
        store, done = world.store, list[bool]()
        try:
            world.once(self.machine, self.plan, lambda: (call(store), done.append(True)))
        except DamagedError:
            if world.history.exact and "stale" not in self.plan.values():
                raise
        return bool(done)


@dataclass(frozen=True, kw_only=True)
class Commit(Action):
    """A process commits an attempt."""

    digest: str
    outcome: Outcome
    rows: int

    def __call__(self, world: World) -> None:
        world.attempts += 1
        history = world.history
        attempt = Attempt(world.attempts, self.digest, self.outcome, self.rows)
        history.uncertain.add(attempt)
        trial = {"outcome": self.outcome, "task": "t", "seed": attempt.number}
        steps = [{"step": i, "loss_sum": float(attempt.number)} for i in range(self.rows)]
        answers = list[bool]()

        def commit(store: Store) -> None:
            tables = {"trials": [trial], "steps": steps}
            answers.append(Ledger(store).commit(self.digest, self.outcome, tables))

        self.work(world, commit)
        if answers:
            history.uncertain.discard(attempt)
        elif any(isinstance(event, Pause) for event in self.plan.values()):
            damage.quarantine(world)
        if any(answers):
            first = self.outcome == "failed" or not any(
                (a.digest, a.outcome) == (self.digest, self.outcome) for a in history.acknowledged
            )
            assert first or not world.bucket.conditional, "two attempts count"
            history.acknowledged.add(attempt)


@dataclass(frozen=True, kw_only=True)
class Compact(Action):
    """A process compacts the store."""

    def __call__(self, world: World) -> None:
        self.work(world, compaction.compact_committed)


@dataclass(frozen=True, kw_only=True)
class Merge(Action):
    """A process merges small files."""

    def __call__(self, world: World) -> None:
        self.work(world, compaction.merge_small_files)


@dataclass(frozen=True, kw_only=True)
class Rebuild(Action):
    """A process rebuilds the tables."""

    def __call__(self, world: World) -> None:
        if self.work(world, compaction.rebuild):
            world.history.exact = True
        elif any(
            isinstance(event, Pause) and isinstance(event.action, (Compact, Merge, Rebuild))
            for event in self.plan.values()
        ):
            # It was overtaken while it slept, and then died among deletions: that is named.
            world.history.exact = False


@dataclass(frozen=True, kw_only=True)
class Vacuum(Action):
    """A process deletes garbage."""

    def __call__(self, world: World) -> None:
        if any(key.startswith("commits/") for key in world.bucket.objects):
            self.work(world, lambda store: vacuum.collect(Ledger(store), timedelta(0)))


@dataclass(frozen=True, kw_only=True)
class Delete(Action):
    """A person deletes a trial that nobody trains; once that is answered, it is not read again."""

    digest: str

    def __call__(self, world: World) -> None:
        world.deliver()
        history, answers = world.history, list[bool]()
        doomed = {a for a in history.acknowledged | history.uncertain if a.digest == self.digest}
        history.acknowledged -= doomed
        history.uncertain |= doomed
        history.deleted.add(self.digest)

        def delete(store: Store) -> None:
            with suppress(ValueError):  # there is no such trial, or a stale listing lacks it
                deletion.delete(Ledger(store), [self.digest], 60.0, lambda _: None)
                answers.append(True)

        self.work(world, delete)
        if answers:
            history.uncertain -= doomed


@dataclass(frozen=True, kw_only=True)
class Read(Action):
    """A reader looks at everything, at any moment."""

    def __call__(self, world: World) -> None:
        self.work(world, world.history.check)


def _holds(value: bytes, driver: Driver) -> bool:
    """Whether the content of a lock is that of a driver."""
    return driver.lock.claim.encode() in value


@dataclass(frozen=True, kw_only=True)
class Drive(Action):
    """A process waits for the study, and drives it from then on."""

    def __call__(self, world: World) -> None:
        process = world.start(self.machine, self.plan)
        store = world.store
        others = [d for d in world.drivers if d.awake and not d.lock.lost.is_set()]
        # A copy of the store from before a driver began has no lock of this driver.
        stored = world.bucket.objects
        others = [d for d in others if d.lock.key in stored and _holds(stored[d.lock.key].value, d)]
        lock = world.run(process, lambda: driver_lock.acquire(store, STUDY, lambda _: None))
        if lock is None:
            process.alive = False
        else:
            thrown_out = [d for d in others if d.awake and d in world.drivers]
            assert not thrown_out or not world.bucket.conditional, "a driver lives and is replaced"
            lock.store = lock.store.patient(0)
            world.drivers.append(Driver(process, lock, renewed=world.now))


@dataclass(frozen=True, kw_only=True)
class Visit(Action):
    """Several processes drive the study, one after the other."""

    times: int = 1

    def __call__(self, world: World) -> None:
        for _ in range(self.times):
            before = len(world.drivers)
            Drive(machine=self.machine, plan=self.plan)(world)
            if len(world.drivers) > before:
                Leave(machine=len(world.drivers) - 1)(world)


@dataclass(frozen=True, kw_only=True)
class Drivers(Action):
    """All drivers are about to act, at the same time."""

    def __call__(self, world: World) -> None:
        acting = [d for d in list(world.drivers) if self._believes(world, d)]
        assert len(acting) <= 1 or not world.bucket.conditional, "two drivers act on one study"

    def _believes(self, world: World, driver: Driver) -> bool:
        passed = list[bool]()
        world.run(driver.process, lambda: (driver.lock.check(), passed.append(True)))
        return bool(passed)


@dataclass(frozen=True, kw_only=True)
class Renew(Action):
    """A driver renews its lock."""

    def __call__(self, world: World) -> None:
        if world.drivers:
            world.renew(world.drivers[self.machine % len(world.drivers)], self.plan)


@dataclass(frozen=True, kw_only=True)
class Leave(Action):
    """A driver ends, or is killed meanwhile."""

    def __call__(self, world: World) -> None:
        if world.drivers:
            driver = world.drivers.pop(self.machine % len(world.drivers))
            driver.process.plan, driver.process.requests = self.plan, 0
            world.run(driver.process, driver.lock.release)
            driver.process.alive = False


@dataclass(frozen=True, kw_only=True)
class FallAsleep(Action):
    """A driver stops renewing its lock, or wakes up."""

    def __call__(self, world: World) -> None:
        if world.drivers:
            driver = world.drivers[self.machine % len(world.drivers)]
            driver.awake = not driver.awake

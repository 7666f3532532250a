"""The state machine: sequences of processes, faults, damage and copies of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation import damage
from tests.simulation.actions import (
    Commit,
    Compact,
    Delete,
    Drive,
    Drivers,
    FallAsleep,
    Leave,
    Merge,
    Read,
    Rebuild,
    Renew,
    Vacuum,
    Visit,
)
from tests.simulation.damage import DAY
from tests.simulation.world import DEATHS, FAULTS, Fault, Pause, World

MACHINES = st.integers(0, 2)
COMMIT: Any = {
    "machine": MACHINES,
    "digest": st.sampled_from(["d1", "d2", "d3"]),
    "outcome": st.sampled_from(["finished", "failed", "pruned"]),
    "rows": st.integers(1, 3),
}
MEANWHILE = st.one_of(
    st.builds(Commit, **COMMIT),
    *(st.builds(kind, machine=MACHINES) for kind in (Compact, Read, Merge, Rebuild, Vacuum)),
)
"""What runs between two requests of another process."""
BESIDE_DELETION = MEANWHILE.filter(lambda action: getattr(action, "digest", "") != "d1")
"""The same beside the deletion of d1, whose lease a writer would hold."""
DRIVING = st.one_of(
    st.builds(Visit, machine=MACHINES, times=st.integers(1, 3)),
    *(st.builds(kind, machine=MACHINES) for kind in (Drive, Drivers, Renew, Leave)),
)
SECONDS = st.sampled_from([0.0, 20.0, 40.0, 200.0, 2 * DAY])
TAKE_OVER = st.integers(115, 135)
"""The requests of a driver around the time at which it takes over from one that it watched."""


def strikes(events: list[tuple[int, Fault | Pause]]) -> dict[int, Fault | Pause]:
    """Return the plan in which these events happen."""
    return dict(events)


def plans(
    requests: int,
    meanwhile: st.SearchStrategy[Any] = MEANWHILE,
    *,
    later: st.SearchStrategy[int] | None = None,
) -> Any:
    """Return plans of a process that makes about so many requests, and perhaps ``later`` ones."""
    numbers = st.integers(0, requests - 1)
    numbers = numbers if later is None else numbers | later
    pauses = st.builds(Pause, SECONDS, st.none() | meanwhile)
    event = st.one_of(st.sampled_from(DEATHS), st.sampled_from(FAULTS), pauses)
    struck = st.builds(strikes, st.lists(st.tuples(numbers, event), min_size=1, max_size=2))
    return st.just(strikes([])) | struck


class Sequences(RuleBasedStateMachine):
    """Steps in a simulated world, each followed by a check."""

    last: ClassVar[World]
    """The world of the last sequence that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Sequences.last = World()

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.world.step()
        self.world.sleep(seconds)
        self.world.deliver()

    def teardown(self) -> None:
        self.world.close()


def has_rows(sequences: Sequences) -> bool:
    """Whether a process committed an attempt, or tried to."""
    return sequences.world.attempts > 0


class Rows(Sequences):
    """Writers, committers, vacuums and readers."""

    @initialize(conditional=st.sampled_from([True, True, True, False]))
    def open(self, conditional: bool) -> None:
        self.world.bucket.conditional = conditional

    @rule(action=st.builds(Commit, **COMMIT, plan=plans(9)))
    def commit(self, action: Commit) -> None:
        action(self.world)

    @rule(action=st.builds(Compact, machine=MACHINES, plan=plans(35)))
    def compact(self, action: Compact) -> None:
        action(self.world)

    @rule(first=st.builds(Commit, **COMMIT), then=st.builds(Compact, machine=MACHINES))
    def commit_and_compact(self, first: Commit, then: Compact) -> None:
        first(self.world)
        then(self.world)

    @precondition(has_rows)
    @rule(action=st.builds(Merge, machine=MACHINES, plan=plans(25)))
    def merge(self, action: Merge) -> None:
        action(self.world)

    @precondition(has_rows)
    @rule(action=st.builds(Rebuild, machine=MACHINES, plan=plans(60)))
    def rebuild(self, action: Rebuild) -> None:
        action(self.world)

    @precondition(has_rows)
    @rule(action=st.builds(Vacuum, machine=MACHINES, plan=plans(50)))
    def vacuum(self, action: Vacuum) -> None:
        action(self.world)

    @precondition(has_rows)
    @rule(
        action=st.builds(
            Delete, machine=MACHINES, digest=st.just("d1"), plan=plans(40, BESIDE_DELETION)
        )
    )
    def delete(self, action: Delete) -> None:
        action(self.world)

    @rule(change=st.sampled_from([damage.copy, damage.swap, damage.overlay]))
    def copies(self, change: Callable[[World], None]) -> None:
        self.world.step()
        change(self.world)

    @precondition(has_rows)
    @rule(
        kind=st.sampled_from([*sorted(damage.KINDS), "record"]),
        which=st.integers(0, 5),
        lost=st.booleans(),
        vacuumed=st.booleans(),
    )
    def damage(self, kind: str, which: int, lost: bool, vacuumed: bool) -> None:
        self.world.step()
        damage.strike(self.world, kind, which, lost=lost, vacuumed=vacuumed)

    @invariant()
    def holds(self) -> None:
        self.world.check()


class Studies(Sequences):
    """Drivers that wait for one study, renew their locks, sleep, leave and die."""

    @rule(action=st.builds(Drive, machine=MACHINES, plan=plans(9, DRIVING, later=TAKE_OVER)))
    def drive(self, action: Drive) -> None:
        action(self.world)

    @rule(action=st.builds(Renew, machine=MACHINES, plan=plans(4, DRIVING)))
    def renew(self, action: Renew) -> None:
        action(self.world)

    @rule(action=st.builds(Leave, machine=MACHINES, plan=plans(5, DRIVING)))
    def leave(self, action: Leave) -> None:
        action(self.world)

    @rule(action=st.builds(Visit, machine=MACHINES, times=st.integers(1, 3)))
    def visit(self, action: Visit) -> None:
        action(self.world)

    @rule(action=st.builds(FallAsleep, machine=MACHINES))
    def fall_asleep(self, action: FallAsleep) -> None:
        action(self.world)

    @rule(change=st.sampled_from([damage.copy, damage.swap, damage.overlay]))
    def copies(self, change: Callable[[World], None]) -> None:
        self.world.step()
        change(self.world)

    @invariant()
    def one_drives(self) -> None:
        Drivers(machine=0)(self.world)


MACHINE_TYPES: dict[str, type[Sequences]] = {"rows": Rows, "drivers": Studies}


def simulate(
    kind: type[Sequences],
    sequences: int,
    *,
    seed: int | None = None,
    steps: int = 12,
    shrink: bool = True,
) -> None:
    """Run sequences; without a seed they are the same each time.

    Raises:
        Exception: a check failed, or the code under test did; the steps are printed.
    """
    configured = settings(
        max_examples=sequences,
        stateful_step_count=steps,
        deadline=None,
        derandomize=seed is None,
        report_multiple_bugs=False,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        verbosity=Verbosity.normal,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    machine = type(kind.__name__, (kind,), {})
    if seed is not None:
        machine = hypothesis.seed(seed)(machine)
    run_state_machine_as_test(machine, settings=configured)

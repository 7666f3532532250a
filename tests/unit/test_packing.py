"""Trials of different sizes on one cluster: full use, no starvation, whatever the estimates."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sweep.packing import Occupied, next_to_start


@dataclass
class Job:
    slots: int
    seconds: float
    expected: float
    started: float = -1.0


def simulate(jobs: list[Job], slots: int) -> float:
    """Run all jobs by the rule; the time at which the last one ends."""
    order = sorted(jobs, key=lambda job: -job.slots)
    waiting, running, count = list(order), list[tuple[float, int, Job]](), itertools.count()
    now = 0.0
    while waiting or running:
        while True:
            occupied = sum(job.slots for _, _, job in running)
            assert occupied <= slots
            place = next_to_start(
                [job.slots for job in waiting],
                slots,
                occupied,
                lambda: [Occupied(j.slots, j.started + j.expected) for _, _, j in running],
                lambda place: waiting[place].expected,
                now,
            )
            if place is None:
                break
            job = waiting.pop(place)
            job.started = now
            heapq.heappush(running, (now + job.seconds, next(count), job))
        assert running, "something waits, and nothing runs: a deadlock"
        now, _, _ = heapq.heappop(running)
    return now


def mixture(draw: Callable[[int, int], int], error: float) -> list[Job]:
    """A study as people run them: many short searches, twins, and a few wide final trials."""
    shapes = [(1, 60, 40), (1, 300, 24), (2, 400, 12), (4, 600, 6), (8, 500, 2)]
    jobs: list[Job] = []
    for width, seconds, number in shapes:
        for _ in range(number):
            real = seconds * draw(50, 150) / 100
            jobs.append(Job(width, real, real * (1 + error * draw(-100, 100) / 100)))
    return jobs


@pytest.mark.parametrize("error", [0.0, 0.5])
@given(data=st.data())
def test_a_mixture_uses_the_cluster_nearly_as_the_best_packing_could(
    error: float, data: st.DataObject
) -> None:
    """No packing ends before all work is done at full use, or before its longest trial."""
    jobs = mixture(lambda low, high: data.draw(st.integers(low, high)), error)
    slots = 8
    area, longest = sum(j.slots * j.seconds for j in jobs), max(j.seconds for j in jobs)
    best = max(area / slots, longest)
    assert best / simulate(jobs, slots) >= 0.85


@given(
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=30),
    durations=st.lists(st.integers(1, 50), min_size=30, max_size=30),
    errors=st.lists(st.floats(0.1, 10), min_size=30, max_size=30),
)
def test_every_trial_runs_once_and_no_slot_is_used_twice(
    widths: list[int], durations: list[int], errors: list[float]
) -> None:
    jobs = [Job(w, d, d * e) for w, d, e in zip(widths, durations, errors, strict=False)]
    simulate(jobs, 4)
    assert all(job.started >= 0 for job in jobs)


def test_a_wide_trial_is_not_starved_by_a_stream_of_narrow_ones() -> None:
    """Two of three slots are needed and one is free: a short trial passes, a long one waits."""
    running = [Occupied(1, until=100.0), Occupied(1, until=500.0)]

    def start(waiting: list[int], seconds: list[float]) -> int | None:
        return next_to_start(waiting, 3, 2, lambda: running, seconds.__getitem__, 0.0)

    assert start([2, 1, 1], [9.0, 150.0, 90.0]) == 2  # ends before the reservation at 100
    assert start([2, 1], [9.0, 150.0]) is None
    running[0] = Occupied(1, until=-5.0)  # late: its slot is expected at any moment
    assert start([2, 1], [9.0, 1.0]) is None
    assert start([3, 1], [9.0, 400.0]) == 1  # the reservation is at 500


def test_slots_that_the_reservation_leaves_over_are_used() -> None:
    running = [Occupied(3, until=100.0)]
    assert next_to_start([2, 1], 4, 3, lambda: running, lambda place: 1e9, 0.0) == 1


def test_a_trial_that_the_cluster_cannot_hold_now_holds_up_nobody() -> None:
    assert next_to_start([5, 1], 4, 3, list, lambda place: 1e9, 0.0) == 1
    assert next_to_start([5], 4, 0, list, lambda place: 1e9, 0.0) is None

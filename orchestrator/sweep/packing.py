"""Which waiting trial starts next on a cluster: reserve for the first, then backfill.

All workers of a study need the same resources, so a cluster is a number of slots, one per worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Occupied:
    """The slots of a running trial, and when it is expected to free them."""

    slots: int
    until: float
    """In seconds, on the clock of ``now``; a trial that is late counts as about to end."""


def next_to_start(
    waiting: Sequence[int],
    slots: int,
    occupied: int,
    running: Callable[[], Sequence[Occupied]],
    seconds: Callable[[int], float],
    now: float,
) -> int | None:
    """Return the place in the queue of the trial that starts now; None if none does.

    The first trial of the queue that the cluster can hold starts as soon as it fits. Until then,
    its slots are reserved from the moment at which enough running trials will have ended, and a
    later trial may start only if it ends by then, or needs slots that remain free afterwards. A
    wrong estimate delays the first trial by one backfilled trial at most per slot: none starts
    once the moment has passed (Mu'alem & Feitelson 2001, "EASY backfilling").

    Args:
        waiting: the slots that each waiting trial needs, in the order of the queue.
        slots: the slots of the cluster.
        occupied: the slots that running trials have.
        running: returns the running trials with their expected ends; called only to backfill.
        seconds: returns the expected duration of a waiting trial, by its place in the queue.
        now: the present time in seconds.
    """
    free = slots - occupied
    possible = [place for place, needed in enumerate(waiting) if needed <= slots]
    if not possible or free <= 0:
        return None
    first, *later = possible
    if waiting[first] <= free:
        return first
    later = [place for place in later if waiting[place] <= free]
    if not later:
        return None
    reserved_at, spare = _reservation(waiting[first], free, running(), now)
    for place in later:
        if waiting[place] <= spare or now + seconds(place) <= reserved_at:
            return place
    return None


def _reservation(
    needed: int, free: int, running: Sequence[Occupied], now: float
) -> tuple[float, int]:
    """Return when enough slots will be free, and how many more than needed are free then."""
    for ending in sorted(running, key=lambda r: r.until):
        free += ending.slots
        if free >= needed:
            return max(now, ending.until), free - needed
    return now, 0

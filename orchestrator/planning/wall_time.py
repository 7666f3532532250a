"""The wall time of a study: its trials one after the other on the slots of a cluster."""

from __future__ import annotations

import heapq
from collections.abc import Collection

import torch

from cluster import Resources
from cluster.local import usable_cpus
from orchestrator.formatting import approximately, plural
from orchestrator.planning.cost import RAY_TRAIN_SECONDS, START_ONLY, UNTIMED, RemainingTrial
from orchestrator.planning.resources import ResourceRequest
from search_spaces import Space

MOST_LISTED = 2000
"""More trials than this are spread evenly over the slots instead of one by one."""


def resources_here() -> Resources:
    """Return the CPUs and GPUs of this machine."""
    return Resources(usable_cpus(), torch.cuda.device_count())


def slots_of(space: Space, resources: Resources) -> int:
    """Return how many workers of a space's trials run at once; at least one."""
    request = ResourceRequest.of(space, 1, resources.gpus)
    return max(1, request.worker_slots({"CPU": c, "GPU": g} for c, g in resources.nodes))


def wall_seconds(costs: Collection[tuple[float, int]], slots: int) -> float:
    """Estimate the wall time of trials, given as (device-seconds, workers).

    Each trial starts on the slots that become free first, those with more workers before others.

    >>> wall_seconds([(60.0, 1)] * 3, slots=2), wall_seconds([(60.0, 1)] * 3, slots=8)
    (120.0, 60.0)
    """
    trials = [
        (seconds / workers + RAY_TRAIN_SECONDS * (workers > 1), min(workers, slots))
        for seconds, workers in costs
    ]
    if not trials:
        return 0.0
    if len(trials) > MOST_LISTED:
        longest = max(seconds for seconds, _ in trials)
        return max(longest, sum(seconds * workers for seconds, workers in trials) / slots)
    free = [0.0] * min(slots, sum(workers for _, workers in trials))
    for seconds, workers in sorted(trials, key=lambda trial: -trial[1]):
        taken = [heapq.heappop(free) for _ in range(workers)]
        for _ in taken:
            heapq.heappush(free, taken[-1] + seconds)
    return max(free)


def interval(left: Collection[RemainingTrial], slots: int) -> tuple[float, float, float]:
    """Return the low end, the estimate and the high end of the wall seconds of what is left."""
    low, middle, high = (
        wall_seconds([(seconds, trial.workers) for trial, seconds in ends], slots)
        for ends in (
            [(t, t.cost.low) for t in left],
            [(t, t.cost.device_seconds) for t in left],
            [(t, t.cost.high) for t in left],
        )
    )
    return low, middle, high


def description(left: Collection[RemainingTrial], space: Space, resources: Resources) -> str:
    """Return the wall time of what is left with its range and its source, as text."""
    untimed = sum(trial.cost.source == UNTIMED for trial in left)
    if untimed == len(left) > 0:
        return "no estimate: a training step cannot be timed here"
    low, middle, high = interval(left, slots_of(space, resources))
    measured = {trial.cost.source for trial in left} - {UNTIMED, START_ONLY}
    sources = " and ".join(sorted(measured or {START_ONLY}))
    gpus = f" and {plural(resources.gpus, 'GPU')}" if resources.gpus else ""
    place = f"{plural(resources.cpus, 'CPU')}{gpus}"
    more = f", without {plural(untimed, 'trial')} that cannot be timed here" if untimed else ""
    return f"about {approximately(low, middle, high)} on {place}, estimated from {sources}{more}"

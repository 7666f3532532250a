"""What to do, decided from what is known: pure functions, tested without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainables.record import Outcome

STORE_SECONDS = 900.0
"""How long a sweep waits for a store that is away before a trial is given up for it."""
FOLD_EVERY = 500
"""Trials that end before the driver folds them into the tables, while it runs."""

State = Literal["done", "running", "pending", "given up"]

MOST_FAILURES = 3
"""After so many failed attempts a config is skipped and named, not tried again."""
LEASE_SECONDS = 75.0
"""A run that gave no sign of life for this long is taken for dead."""
SILENCE_SECONDS = 900.0
"""A trial that its driver has not heard of for this long is killed, and tried again."""
WAIT_SECONDS = 600.0
"""How long a sweep waits for resources that the cluster has lost before it says so and ends."""
MOST_LOST = 10
"""How often in one sweep a trial may lose its node; that is not the trial's fault."""


@dataclass(frozen=True)
class Failure:
    """Why a trial ended without a record of its own."""

    reason: str
    lost: bool = False
    """Its node went away, or was taken back: not a failure of what ran there."""


MEMORY_WORDS = ("OutOfMemoryError", "MemoryError", "can't allocate memory", "memory pressure")


def out_of_memory(reason: str | None) -> bool:
    """Whether a trial ended for want of memory, so that smaller parts of a batch may fit.

    >>> out_of_memory("OutOfMemoryError: CUDA out of memory (step, line 9)")
    True
    >>> out_of_memory("ValueError: no such mask"), out_of_memory(None)
    (False, False)
    """
    return reason is not None and any(word in reason for word in MEMORY_WORDS)


def state(outcome: Outcome | None, failures: int, lease_age: float | None) -> State:
    """What is to be done about one declared trial.

    >>> state("finished", 0, None), state(None, 0, None), state(None, 0, 5.0)
    ('done', 'pending', 'running')
    >>> state("failed", 1, None), state("failed", 3, None)
    ('pending', 'given up')
    """
    if outcome is not None and outcome != "failed":
        return "done"
    if failures >= MOST_FAILURES:
        return "given up"
    if lease_age is not None and lease_age < LEASE_SECONDS:
        return "running"
    return "pending"


def counts_as_done(outcome: Outcome | None, stage: str) -> bool:
    """Whether a committed outcome answers a stage: a pruned trial answers no final one."""
    if outcome == "pruned":
        return stage == "search"
    return outcome in ("finished", "diverged")


def stop_early(score: float, others: Sequence[float]) -> bool:
    """Whether a trial ends at this rung: it is in the lower half of those that came here.

    Asynchronous successive halving with a reduction of 2 (Li et al. 2020, arXiv 1810.05934). A
    rung that one other trial reached judges nobody.

    >>> stop_early(0.4, [0.5, 0.6]), stop_early(0.7, [0.5, 0.6]), stop_early(0.1, [0.9])
    (True, False, False)
    """
    if len(others) < 2:
        return False
    ranked = sorted([*others, score], reverse=True)
    return score < ranked[(len(ranked) - 1) // 2]


def best(scores: dict[str, float], outcomes: dict[str, Outcome]) -> str | None:
    """The digest to train in full: the best finished one, else the best pruned one, else none."""
    for wanted in ("finished", "pruned"):
        eligible = [d for d in scores if outcomes.get(d) == wanted]
        if eligible:
            return min(eligible, key=lambda d: (-scores[d], d))
    return None

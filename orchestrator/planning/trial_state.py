"""The state of one declared trial: done, running, pending or given up."""

from __future__ import annotations

from typing import Literal

from trainables.schemas import Outcome

State = Literal["done", "running", "pending", "given up"]

MOST_FAILURES = 3
"""A config that failed in this many attempts is given up and named."""
LEASE_SECONDS = 75.0
"""A run whose lease is older than this counts as dead."""


def state(
    outcome: Outcome | None, failures: int, lease_age: float | None, forgiven: int = 0
) -> State:
    """Return the state of a trial; ``forgiven`` of its failures do not count.

    >>> state("finished", 0, None), state(None, 0, None), state(None, 0, 5.0)
    ('done', 'pending', 'running')
    >>> state("failed", 1, None), state("failed", 3, None)
    ('pending', 'given up')
    >>> state("failed", 3, None, forgiven=3)
    'pending'
    """
    if outcome is not None and outcome != "failed":
        return "done"
    if failures - forgiven >= MOST_FAILURES:
        return "given up"
    if lease_age is not None and lease_age < LEASE_SECONDS:
        return "running"
    return "pending"


def counts_as_done(outcome: Outcome | None, stage: str) -> bool:
    """Whether a committed outcome completes a stage; ``pruned`` completes a search trial only."""
    if outcome == "pruned":
        return stage == "search"
    return outcome in ("finished", "diverged")

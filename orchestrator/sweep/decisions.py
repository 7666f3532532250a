"""The decision after the end of a trial, a pure function of its end and its earlier attempts.

==================  =========================  ================================================
end                 committed row              afterwards
==================  =========================  ================================================
finished, diverged  by the worker              the trial is done
pruned              by the driver, at a rung   the trial is done
failed              by the worker              retried in the next round, or given up
crashed, killed     by the driver              retried in the next round, or given up
node lost           none                       resumed in this round or, after many, the next
stopped             none                       resumed by the next sweep
==================  =========================  ================================================

The ledger counts the failures of a trial, but not its node losses. A trial that ran out of memory
is retried with twice as many microbatches per batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from orchestrator.ledger.failed_attempts import out_of_memory
from orchestrator.planning.trial_state import MOST_FAILURES
from trainables.schemas import Outcome

MOST_LOST = 10
"""A trial with so many node losses in a sweep waits for the next round; they are no progress."""


class TrialEnd(Enum):
    """How a trial ended, as the driver sees it."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    PRUNED = "pruned"
    """Stopped at a rung; the driver committed its rows when it decided so."""
    FAILED = "failed"
    """Raised an exception that the worker committed."""
    CRASHED = "crashed"
    """Ended without a committed row: its process died, or one of several workers raised."""
    KILLED = "killed"
    """Killed by the watchdog, because it gave no sign of life."""
    NODE_LOST = "node lost"
    STOPPED = "stopped"
    """Interrupted together with the sweep."""


DONE: dict[TrialEnd, Outcome] = {
    TrialEnd.FINISHED: "finished",
    TrialEnd.DIVERGED: "diverged",
    TrialEnd.PRUNED: "pruned",
}
"""The outcomes of trials that are done."""


class Retry(Enum):
    """When a trial runs again."""

    NEVER = "never"
    """It is done, or it is given up."""
    THIS_ROUND = "this round"
    NEXT_ROUND = "next round"
    NEXT_SWEEP = "next sweep"


@dataclass(frozen=True)
class Failure:
    """The reason why a trial ended without a committed row."""

    reason: str
    node_lost: bool = False
    """Whether its node was lost or taken back, which is no failure of the trial."""


@dataclass(frozen=True)
class Retries:
    """The earlier attempts at one trial."""

    losses: int = 0
    """Node losses in this sweep."""
    failures: int = 0
    """Failed attempts, without those that were forgiven."""
    microbatch_factor: int = 1
    """The factor by which a batch is split into more microbatches than configured."""


@dataclass(frozen=True)
class Decision:
    """The actions of the driver after the end of a trial."""

    retries: Retries
    """The attempts including this one."""
    outcome: Outcome | None = None
    """The outcome that the searcher and the progress display are given; None if there is none."""
    commit: bool = False
    """Whether the driver commits a row, because no worker did."""
    retry: Retry = Retry.NEVER
    release_lease: bool = False
    """Whether the lease is deleted, because its holder is lost."""
    stop_sweep: bool = False
    """Whether the sweep was interrupted."""


class SweepProgress(NamedTuple):
    """Counts that change whenever a round achieved something or lost what it can resume."""

    ended: int
    """Trials that are done or given up."""
    suggestions_left: int
    failures: int
    losses: int
    """Node losses, up to :data:`MOST_LOST` per trial."""


def trial_end(
    outcome: Outcome | None, failure: Failure | None, *, pruned: bool, killed: bool
) -> TrialEnd:
    """Classify the end of a trial.

    Args:
        outcome: the outcome that the worker reported, if it did.
        failure: the reason why the trial ended without a report, if it did.
        pruned: whether the driver stopped it at a rung.
        killed: whether the watchdog killed it.
    """
    if pruned:
        return TrialEnd.PRUNED
    if failure is not None and killed:
        return TrialEnd.KILLED
    if failure is not None:
        return TrialEnd.NODE_LOST if failure.node_lost else TrialEnd.CRASHED
    return TrialEnd(outcome) if outcome is not None else TrialEnd.STOPPED


def decide(
    end: TrialEnd, retries: Retries, reason: str | None = None, *, searched: bool = False
) -> Decision:
    """Return what to do about a trial that ended.

    ``retries`` are the earlier attempts at it, ``reason`` is why it failed, if it did, and
    ``searched`` whether it is a search trial.
    """
    match end:
        case TrialEnd.FINISHED | TrialEnd.DIVERGED | TrialEnd.PRUNED:
            return Decision(retries, DONE[end])
        case TrialEnd.FAILED:
            return _failed(retries, reason, commit=False)
        case TrialEnd.CRASHED | TrialEnd.KILLED:
            return _failed(retries, reason, commit=True)
        case TrialEnd.NODE_LOST:
            return _node_lost(retries, searched=searched)
        case TrialEnd.STOPPED:
            return Decision(retries, retry=Retry.NEXT_SWEEP, stop_sweep=True)


def _failed(retries: Retries, reason: str | None, *, commit: bool) -> Decision:
    """Retry in the next round, whose plan counts the committed failures too."""
    retries = replace(
        retries,
        failures=retries.failures + 1,
        microbatch_factor=retries.microbatch_factor * (2 if out_of_memory(reason) else 1),
    )
    retry = Retry.NEXT_ROUND if retries.failures < MOST_FAILURES else Retry.NEVER
    return Decision(retries, "failed", commit=commit, retry=retry)


def _node_lost(retries: Retries, *, searched: bool) -> Decision:
    """Resume from the checkpoint.

    A search trial waits for the next round, in which its search suggests it first. So does a trial
    that lost its node often: without any other progress there is no next round.
    """
    retries = replace(retries, losses=retries.losses + 1)
    waits = searched or retries.losses >= MOST_LOST
    retry = Retry.NEXT_ROUND if waits else Retry.THIS_ROUND
    return Decision(retries, retry=retry, release_lease=True)


def another_round(before: SweepProgress, after: SweepProgress) -> bool:
    """Whether another round can achieve something: the last one changed the progress."""
    return before != after

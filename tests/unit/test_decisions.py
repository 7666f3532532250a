"""What the sweep does when a trial ends, for every end and every state of its retries."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.trial_state import MOST_FAILURES
from orchestrator.sweep.decisions import (
    MOST_LOST,
    Decision,
    Failure,
    Retries,
    Retry,
    TrialEnd,
    decide,
    trial_end,
)
from trainables.schemas import Outcome

NO_MEMORY = "OutOfMemoryError: CUDA out of memory"
BUG = "ValueError: no such mask"
FAILURES = (TrialEnd.FAILED, TrialEnd.CRASHED, TrialEnd.KILLED)
DONE = (TrialEnd.FINISHED, TrialEnd.DIVERGED, TrialEnd.PRUNED)
EARLIER = [
    Retries(losses, failures, split)
    for losses in (0, 1, MOST_LOST - 1, MOST_LOST)
    for failures in (0, 1, MOST_FAILURES - 1, MOST_FAILURES)
    for split in (1, 4)
]

Row = tuple[Outcome | None, bool, bool, bool]
TABLE: dict[TrialEnd, Row] = {
    # outcome, committed by the driver, lease released, sweep stopped
    TrialEnd.FINISHED: ("finished", False, False, False),
    TrialEnd.DIVERGED: ("diverged", False, False, False),
    TrialEnd.PRUNED: ("pruned", False, False, False),
    TrialEnd.FAILED: ("failed", False, False, False),
    TrialEnd.CRASHED: ("failed", True, False, False),
    TrialEnd.KILLED: ("failed", True, False, False),
    TrialEnd.NODE_LOST: (None, False, True, False),
    TrialEnd.STOPPED: (None, False, False, True),
}


def expected_retry(end: TrialEnd, retries: Retries, *, searched: bool) -> Retry:
    if end in DONE:
        return Retry.NEVER
    if end is TrialEnd.STOPPED:
        return Retry.NEXT_SWEEP
    if end in FAILURES:
        return Retry.NEXT_ROUND if retries.failures + 1 < MOST_FAILURES else Retry.NEVER
    waits = searched or retries.losses + 1 >= MOST_LOST
    return Retry.NEXT_ROUND if waits else Retry.THIS_ROUND


def expected_retries(end: TrialEnd, retries: Retries, reason: str) -> Retries:
    lost, failed = end is TrialEnd.NODE_LOST, end in FAILURES
    return Retries(
        retries.losses + lost,
        retries.failures + failed,
        retries.microbatch_factor * (2 if failed and reason == NO_MEMORY else 1),
    )


@pytest.mark.parametrize("end", list(TrialEnd))
@pytest.mark.parametrize("searched", [False, True])
def test_every_end_has_one_decision_whatever_was_before(end: TrialEnd, searched: bool) -> None:
    outcome, commit, release, stop = TABLE[end]
    for retries, reason in itertools.product(EARLIER, (NO_MEMORY, BUG)):
        assert decide(end, retries, reason, searched=searched) == Decision(
            expected_retries(end, retries, reason),
            outcome,
            commit,
            expected_retry(end, retries, searched=searched),
            release,
            stop,
        )


@pytest.mark.parametrize(
    ("outcome", "failure", "pruned", "killed", "end"),
    [
        ("finished", None, False, False, TrialEnd.FINISHED),
        ("diverged", None, False, False, TrialEnd.DIVERGED),
        ("failed", None, False, False, TrialEnd.FAILED),
        (None, None, False, False, TrialEnd.STOPPED),
        (None, None, True, False, TrialEnd.PRUNED),
        (None, Failure("its process died"), True, False, TrialEnd.PRUNED),  # its row is committed
        (None, Failure("its process died"), False, False, TrialEnd.CRASHED),
        (None, Failure("its process died"), False, True, TrialEnd.KILLED),
        (None, Failure("its node went away", node_lost=True), False, False, TrialEnd.NODE_LOST),
        (None, Failure("its node went away", node_lost=True), False, True, TrialEnd.KILLED),
        ("finished", None, False, True, TrialEnd.FINISHED),  # it ended before the kill
    ],
)
def test_an_end_is_classified(
    outcome: Outcome | None, failure: Failure | None, pruned: bool, killed: bool, end: TrialEnd
) -> None:
    assert trial_end(outcome, failure, pruned=pruned, killed=killed) is end


ENDS = st.lists(
    st.tuples(st.sampled_from(TrialEnd), st.sampled_from((NO_MEMORY, BUG))), max_size=60
)


@given(ends=ENDS, searched=st.booleans())
def test_whatever_happens_to_a_trial_its_decisions_are_consistent(
    ends: list[tuple[TrialEnd, str]], searched: bool
) -> None:
    retries, again = Retries(), 0
    for end, reason in ends:
        decision = decide(end, retries, reason, searched=searched)
        failed = decision.outcome == "failed"
        recorded = decision.outcome is not None
        # A trial with a row is never put back into the same round.
        assert not (recorded and decision.retry is Retry.THIS_ROUND)
        assert not (decision.commit and not recorded)
        # Without a row a trial is not forgotten; with a final row it is not retried.
        assert recorded or decision.retry is not Retry.NEVER
        assert failed or not recorded or decision.retry is Retry.NEVER
        # Attempts are only ever counted up, and a lost node is no failure.
        assert decision.retries.losses - retries.losses == (end is TrialEnd.NODE_LOST)
        assert decision.retries.failures - retries.failures == failed
        doubled = failed and reason == NO_MEMORY
        assert decision.retries.microbatch_factor == retries.microbatch_factor * (
            2 if doubled else 1
        )
        retries = decision.retries
        again += decision.retry is Retry.THIS_ROUND
    assert again < MOST_LOST

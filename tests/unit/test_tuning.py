"""What Ray raises, told apart: the trial failed, or its node went away."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from orchestrator.sweep.decisions import Failure
from orchestrator.sweep.failures import failure
from trainables.runtime.process_group import PeerTimeoutError

NODE = ActorDiedError()
NODE.error_msg = "The actor died because its node has died. Node Id: 12"
GONE = Failure("its node went away", node_lost=True)


def task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("step", f"Traceback\n{cause!r}", cause)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, Failure("RuntimeError: the trial ended without an error message")),
        (NODE, GONE),
        (RayActorError(preempted=True), GONE),
        (RayActorError(), Failure("the worker process died")),
        (task_error(ValueError("bad\nlines")), Failure("ValueError: bad")),
        (task_error(PreemptionError(PreemptionInfo(None, {"n": [0]}))), GONE),
        (task_error(ControllerError(KeyError("k"))), Failure("KeyError: 'k'")),
        (
            # The peers of a worker that died only lose their connection.
            task_error(
                WorkerGroupError("", {0: RuntimeError("Connection closed by peer"), 1: NODE})
            ),
            GONE,
        ),
        (
            WorkerGroupError("", {1: WorkerHealthCheckFailedError("", RayActorError())}),
            Failure("the worker process died"),
        ),
        (
            WorkerGroupError("", {1: WorkerHealthCheckFailedError("", NODE)}),
            GONE,
        ),
        (
            WorkerGroupError(
                "",
                {0: RuntimeError("Connection reset"), 2: PeerTimeoutError("rank 2 of 3 waited")},
            ),
            Failure("PeerTimeoutError: rank 2 of 3 waited"),
        ),
        (
            WorkerGroupError("", {0: RuntimeError("Connection reset"), 1: ValueError("mask")}),
            Failure("ValueError: mask"),
        ),
    ],
)
def test_whose_fault_an_end_was(error: Any, expected: Failure) -> None:
    assert failure(error) == expected

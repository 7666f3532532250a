"""The reason why a trial failed, from the exceptions that Ray raised.

Ray wraps exceptions in internal classes, whose attributes have no types.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from ray import cloudpickle
from ray.exceptions import NodeDiedError, RayActorError, RayTaskError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.tune.experiment import Trial

from cluster import has_lost_node
from orchestrator.sweep.decisions import Failure
from trainables.runtime.process_group import lost_peer


def raised(trial: Trial) -> BaseException | None:
    """Return the exception of a trial that Tune has just written to this machine."""
    path = trial.pickled_error_file
    try:
        return None if path is None else cloudpickle.loads(Path(path).read_bytes())
    except Exception as error:  # the exception cannot be unpickled here
        return error


def failure(error: BaseException | None) -> Failure:
    """Return the reason for an exception that Ray raised for a trial."""
    causes = list(_causes(error))
    if any(_node_gone(cause) for cause in causes):
        return Failure("its node went away", node_lost=True)
    if any(isinstance(cause, RayActorError) for cause in causes[-1:]):
        return Failure("the worker process died")
    last = causes[-1] if causes else RuntimeError("the trial ended without an error message")
    text = str(last).strip().splitlines() or [""]
    return Failure(f"{type(last).__name__}: {text[0]}"[:500])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exceptions from the outside in.

    Tune wraps the error of Ray Train, which wraps those of its workers.
    """
    while error is not None:
        if isinstance(error, RayTaskError):
            error = cast("BaseException", error.cause)
            continue
        yield error
        if isinstance(error, WorkerGroupError):
            error = _first_cause(error)
        elif isinstance(error, ControllerError):
            error = error.controller_failure
        elif isinstance(error, UserExceptionWithTraceback):
            error = error._base_exc  # pyright: ignore[reportPrivateUsage]
        else:
            error = error.__cause__


def _first_cause(group: WorkerGroupError) -> BaseException | None:
    """Return the failure of one worker that caused those of the others.

    When a worker dies, the others lose their connection to it.
    """
    failures = [
        e.health_check_failure if isinstance(e, WorkerHealthCheckFailedError) else e
        for e in group.worker_failures.values()
    ]
    node_gone = [e for e in failures if _node_gone(e)]
    raised = [e for e in failures if not isinstance(e, RayActorError) and not lost_peer(e)]
    return next(iter([*node_gone, *raised, *failures]), None)


def _node_gone(error: BaseException) -> bool:
    if isinstance(error, (NodeDiedError, PreemptionError, WorkerGroupStartupTimeoutError)):
        return True
    if not isinstance(error, RayActorError):
        return False
    if error.preempted or "node has died" in str(error):
        return True
    actor_id = cast("str | None", error.actor_id)
    return bool(actor_id) and has_lost_node(str(actor_id))

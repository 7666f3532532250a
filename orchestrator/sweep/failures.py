"""Why a trial ended, from the exceptions that Ray raised for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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

from trainables.worker import lost_peer


@dataclass(frozen=True)
class Failure:
    """Why a trial ended without a record of its own."""

    reason: str
    lost: bool = False
    """The trial's node was lost or taken back: not a failure of the trial."""


def raised(trial: Trial) -> BaseException | None:
    """What Ray raised for a trial, as Tune has just noted it on this machine."""
    path = trial.pickled_error_file
    try:
        return None if path is None else cloudpickle.loads(Path(path).read_bytes())
    except Exception as error:  # what was raised there cannot be built here
        return error


def failure(error: BaseException | None) -> Failure:
    """Why a trial ended, from what Ray raised for it."""
    causes = list(_causes(error))
    if any(_node_gone(cause) for cause in causes):
        return Failure("its node went away", lost=True)
    if any(isinstance(cause, RayActorError) for cause in causes[-1:]):
        return Failure("the worker process died")
    last = causes[-1] if causes else RuntimeError("it ended without a word")
    text = str(last).strip().splitlines() or [""]
    return Failure(f"{type(last).__name__}: {text[0]}"[:500])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """What was raised, from the outside in: Tune wraps Ray Train's error, that its workers'."""
    while error is not None:
        if isinstance(error, RayTaskError):
            error = cast("BaseException", error.cause)
            continue
        yield error
        if isinstance(error, WorkerGroupError):
            found = [
                e.health_check_failure if isinstance(e, WorkerHealthCheckFailedError) else e
                for e in error.worker_failures.values()
            ]
            gone = [e for e in found if _node_gone(e)]
            # Where one worker dies, the others lose their connection to it.
            raised = [e for e in found if not isinstance(e, RayActorError)]
            own = [e for e in raised if not lost_peer(e)]
            error = next(iter([*gone, *own, *found]), None)
        elif isinstance(error, ControllerError):
            error = error.controller_failure
        elif isinstance(error, UserExceptionWithTraceback):
            error = error._base_exc  # pyright: ignore[reportPrivateUsage]
        else:
            error = error.__cause__


def _node_gone(error: BaseException) -> bool:
    if isinstance(error, (NodeDiedError, PreemptionError, WorkerGroupStartupTimeoutError)):
        return True
    return isinstance(error, RayActorError) and (error.preempted or "node has died" in str(error))

"""Ray Tune's three hooks (searcher, scheduler, callback), each a thin face of one Round."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import cloudpickle, tune
from ray.exceptions import NodeDiedError, RayActorError, RayTaskError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.policy import Failure
from orchestrator.sweep.watchdog import Watchdog
from trainables.worker import lost_peer

if TYPE_CHECKING:
    from orchestrator.sweep.round import Round


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
}


def keep_credentials() -> None:
    """Have Tune pass none on: it would in an actor's runtime env, which Ray's logs print in full.

    Every node has them in its own environment.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(CREDENTIALS)


class RoundSearcher(Searcher):
    """Hands Tune the trials in the order that the run decides."""

    def __init__(self, run: Round) -> None:
        super().__init__(metric="score", mode="max")
        self._run = run

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        with self._run.remembering():
            if len(self._run.handed) >= self._run.needs.slots(ray.cluster_resources()):
                return None  # asked again in a moment: nodes come and go
            trial = self._run.next(trial_id)
        if trial is None:
            return Searcher.FINISHED  # pyright: ignore[reportReturnType]
        return {
            "config": trial.config.plain(),
            "digest": trial.digest,
            "sink": self._run.sink,
            "split": self._run.tries.split(trial.digest),
            **dataclasses.asdict(self._run.needs),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Told by :class:`Watch`, which also knows the error."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the memory."""


class RoundScheduler(FIFOScheduler):
    """First come, first served, with early stopping as the run decides."""

    def __init__(self, run: Round) -> None:
        super().__init__()
        self._run = run

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        with self._run.remembering():
            goes_on = self._run.reported(trial.trial_id, result)
        return FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The base class looks through all trials that there ever were, at every step."""
        waiting = (Trial.PENDING, Trial.PAUSED)
        return next((t for t in tune_controller.get_live_trials() if t.status in waiting), None)


class RoundCallback(tune.Callback):
    """Sees every trial start, report and end, and has the guard look at them in between."""

    def __init__(self, run: Round, guard: Watchdog) -> None:
        self._run, self._guard = run, guard

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        with self._run.remembering():
            self._guard.look(trials)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._guard.heard(trial.trial_id)
        handed = self._run.handed.get(trial.trial_id)
        if handed is not None:
            self._run.screen.started(trial.trial_id, handed.trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._guard.heard(trial.trial_id)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        with self._run.remembering():
            self._run.ended(trial.trial_id, trial.last_result or {}, None)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        with self._run.remembering():
            self._run.ended(trial.trial_id, {}, failure(raised(trial)))


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

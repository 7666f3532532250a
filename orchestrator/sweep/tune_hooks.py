"""Ray Tune's three hooks (searcher, scheduler, callback), each a thin face of one Round."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.sweep.failures import failure, raised
from orchestrator.sweep.watchdog import Watchdog

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
            "microbatch_factor": self._run.tries.split(trial.digest),
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

"""Ray Tune's three hooks (searcher, scheduler, callback), each a thin adapter of one Round."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cluster import alive_nodes
from orchestrator.sweep import timeouts
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
    """Stop Tune from copying credentials into the runtime env of its actors, which Ray logs.

    Every node has them in its own environment.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(CREDENTIALS)


# Ray annotates neither of these values.


def _last_result(trial: Any) -> dict[str, Any]:
    return trial.last_result or {}


class RoundSearcher(Searcher):
    """Gives Tune the trials of a round in order."""

    def __init__(self, run: Round) -> None:
        super().__init__(metric="score", mode="max")
        self._round = run

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        with self._round.keeping_error():
            if self._round.exhausted:
                return Searcher.FINISHED  # pyright: ignore[reportReturnType]
            one_worker = self._round.one_worker
            trial = self._round.next(
                trial_id, one_worker.worker_slots(n.resources for n in alive_nodes())
            )
            if trial is None and self._round.exhausted:
                return Searcher.FINISHED  # pyright: ignore[reportReturnType]
        if trial is None:
            return None  # Tune asks again soon; trials end, nodes come and go
        return {
            "config": trial.config.plain(),
            "digest": trial.digest,
            "sink": self._round.sink,
            "microbatch_factor": self._round.retries.of(trial.digest).microbatch_factor,
            "checkpoint_every": self._round.plan.space.checkpoint_every,
            "collective_timeout": timeouts.COLLECTIVE_SHARE * self._round.context.silence,
            **dataclasses.asdict(dataclasses.replace(one_worker, workers=trial.workers)),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: :class:`RoundCallback` handles the end of a trial."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a round is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a round is rebuilt from the ledger."""


class RoundScheduler(FIFOScheduler):
    """First come, first served, with early stopping as the round decides."""

    def __init__(self, run: Round) -> None:
        super().__init__()
        self._round = run

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        with self._round.keeping_error():
            continues = self._round.reported(trial.trial_id, result)
        return FIFOScheduler.CONTINUE if continues else FIFOScheduler.STOP

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next waiting trial; the base class scans all ended trials at each step."""
        waiting = (Trial.PENDING, Trial.PAUSED)
        return next((t for t in tune_controller.get_live_trials() if t.status in waiting), None)


class RoundCallback(tune.Callback):
    """Passes starts, reports and ends of trials to the round, and runs the watchdog."""

    def __init__(self, run: Round, watchdog: Watchdog) -> None:
        self._round, self._watchdog = run, watchdog

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        with self._round.keeping_error():
            self._watchdog.check(trials)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._watchdog.note_activity(trial.trial_id)
        running = self._round.running.get(trial.trial_id)
        if running is not None:
            self._round.display.started(trial.trial_id, running.trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._watchdog.note_activity(trial.trial_id)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        with self._round.keeping_error():
            self._round.ended(trial.trial_id, _last_result(trial), None)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        with self._round.keeping_error():
            self._round.ended(trial.trial_id, {}, failure(raised(trial)))

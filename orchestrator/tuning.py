"""Ray Tune's three hooks (searcher, scheduler, callback), each a thin face of one Round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.fill import SCORE

if TYPE_CHECKING:
    from orchestrator.round import Round


class Order(Searcher):
    """Hands Tune the trials in the order that the run decides."""

    def __init__(self, run: Round, workers: int) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._run, self._workers = run, workers

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        with self._run.remembering():
            trial = self._run.next(trial_id)
        if trial is None:
            return Searcher.FINISHED  # pyright: ignore[reportReturnType]
        return {
            "config": trial.config.plain(),
            "digest": trial.digest,
            "sink": self._run.sink,
            "cpus": 1,
            "workers": self._workers,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Told by :class:`Watch`, which also knows the error."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the memory."""


class Rungs(FIFOScheduler):
    """First come, first served, with early stopping as the run decides."""

    def __init__(self, run: Round) -> None:
        super().__init__()
        self._run = run

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        with self._run.remembering():
            goes_on = self._run.reported(trial.trial_id, result)
        return FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP


class Watch(tune.Callback):
    """Sees every trial start and end."""

    def __init__(self, run: Round) -> None:
        self._run = run

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        handed = self._run.handed.get(trial.trial_id)
        if handed is not None:
            self._run.screen.started(trial.trial_id, handed.trial)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        with self._run.remembering():
            self._run.ended(trial.trial_id, trial.last_result or {}, None)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        error: Any = trial.get_error() if hasattr(trial, "get_error") else None
        lines = str(error or "the worker process died").strip().splitlines()
        with self._run.remembering():
            self._run.ended(trial.trial_id, {}, lines[-1][:500])

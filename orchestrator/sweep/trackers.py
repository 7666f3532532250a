"""A copy of a sweep for MLflow or Weights & Biases, through Ray's callbacks for them.

The ledger stays the only source of results. A mirror runs in a thread of its own, so that a slow or
unreachable server does not delay the sweep; its first error is printed, and the sweep continues
without it. It receives the digest, the config and the validations of each trial, but neither the
other arguments that Tune passes to a trial nor the environment.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ray import tune

if TYPE_CHECKING:
    from orchestrator.sweep.round import Round

DRAIN_SECONDS = 60.0
"""A round waits at most this long at its end for messages that the mirror has not handled."""
REPORT = ("score", "step", "outcome", "training_iteration", "time_total_s")
"""The keys of a report that are passed on; Tune adds its arguments and the host to a report."""

Job = Callable[[Any], None]


def mirrors(run: Round) -> list[tune.Callback]:
    """Return the mirror that the user asked for, if any."""
    name, study = run.context.tracker, run.plan.study
    if name is None:
        return []
    return [Mirror(name, lambda: _callback(name, study), run.display.note)]


def _callback(name: str, study: str) -> Any:
    """Return Ray's callback; ``MLFLOW_...`` and ``WANDB_...`` variables name the server."""
    if name == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return MLflowLoggerCallback(experiment_name=study)
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project=study, group=study, save_code=False)


@dataclass(frozen=True)
class TrialView:
    """The part of one of Tune's trials that a mirror sees."""

    trial_id: str
    name: str
    config: Mapping[str, Any] = field(compare=False)
    experiment_dir_name: str
    local_path: str = field(default_factory=os.getcwd)

    @classmethod
    def of(cls, trial: Any, study: str) -> TrialView:
        """Return the view of a trial: its digest and its training config."""
        config = {"digest": trial.config["digest"], **trial.config["config"]}
        return cls(trial.trial_id, trial.config["digest"], config, study)

    def __str__(self) -> str:
        return self.name


class Mirror(tune.Callback):
    """Passes events in order to a callback that one thread creates and calls."""

    def __init__(self, name: str, make: Callable[[], Any], note: Callable[[str], None]) -> None:
        self._name, self._make, self._note = name, make, note
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"{name} mirror", daemon=True)
        self._thread.start()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its hooks to restore them; a mirror is not restored

    def _work(self) -> None:
        try:
            inner = self._make()
            inner.setup()
            while (job := self._jobs.get()) is not None:
                job(inner)
        except Exception as error:
            first = str(error).partition("\n")[0]
            self._note(f"{self._name}: {first}; the sweep continues without this mirror")

    def _view(self, trial: Any) -> TrialView:
        return TrialView.of(trial, trial.experiment_dir_name)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        view = self._view(trial)
        self._jobs.put(lambda inner: inner.log_trial_start(view))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        view = self._view(trial)
        report = {k: result[k] for k in REPORT if result.get(k) is not None}
        if "step" in report:
            report["timesteps_total"] = report["step"]  # the x axis of both trackers
        self._jobs.put(lambda inner: inner.log_trial_result(iteration, view, report))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        view = self._view(trial)
        self._jobs.put(lambda inner: inner.log_trial_end(view, failed=False))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        view = self._view(trial)
        self._jobs.put(lambda inner: inner.log_trial_end(view, failed=True))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._jobs.put(lambda inner: inner.on_experiment_end([]))
        self._jobs.put(None)
        self._thread.join(DRAIN_SECONDS)
        if self._thread.is_alive():
            self._note(f"{self._name}: some messages were not sent within {DRAIN_SECONDS:.0f} s")

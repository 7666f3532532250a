"""A copy of a sweep for MLflow or Weights & Biases, through Ray's own callbacks for them.

The ledger is the truth; this is for people who look at other runs there. A mirror is fed by a
thread of its own, so that a server that is slow or away holds nothing up; what it raises is said
once, and the sweep goes on without it. It is shown a trial's digest, config and validations:
neither the rest of what Tune hands a trial, nor anything of the environment.
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
"""How long a round waits at its end for what was not taken yet."""
REPORT = ("score", "step", "outcome", "training_iteration", "time_total_s")
"""Of a report; Tune adds the whole of what it handed the trial, and where it runs."""

Job = Callable[[Any], None]


def mirrors(run: Round) -> list[tune.Callback]:
    """The mirror that a sweep was asked for, or none."""
    name, study = run.crew.mirror, run.made.study
    if name is None:
        return []
    return [Mirror(name, lambda: _callback(name, study), run.screen.note)]


def _callback(name: str, study: str) -> Any:
    """Where they keep things is said by their own variables (``MLFLOW_...``, ``WANDB_...``)."""
    if name == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return MLflowLoggerCallback(experiment_name=study)
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project=study, group=study, save_code=False)


@dataclass(frozen=True)
class Shown:
    """As much of one of Tune's trials as a mirror sees."""

    trial_id: str
    name: str
    config: Mapping[str, Any] = field(compare=False)
    experiment_dir_name: str
    local_path: str = field(default_factory=os.getcwd)

    @classmethod
    def of(cls, trial: Any, study: str) -> Shown:
        """Its config is that of the run: what else Tune has of it stays here."""
        config = {"digest": trial.config["digest"], **trial.config["config"]}
        return cls(trial.trial_id, trial.config["digest"], config, study)

    def __str__(self) -> str:
        return self.name


class Mirror(tune.Callback):
    """Hands on what happens, in order, to a callback that is made and called by one thread."""

    def __init__(self, name: str, make: Callable[[], Any], note: Callable[[str], None]) -> None:
        self._name, self._make, self._note = name, make, note
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"{name} mirror", daemon=True)
        self._thread.start()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its hooks, to restore them later; nothing here is restored

    def _work(self) -> None:
        try:
            inner = self._make()
            inner.setup()
            while (job := self._jobs.get()) is not None:
                job(inner)
        except Exception as error:
            first = str(error).partition("\n")[0]
            self._note(f"{self._name}: {first}; the sweep goes on without this mirror")

    def _shown(self, trial: Any) -> Shown:
        return Shown.of(trial, trial.experiment_dir_name)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        shown = self._shown(trial)
        self._jobs.put(lambda inner: inner.log_trial_start(shown))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        shown = self._shown(trial)
        told = {k: result[k] for k in REPORT if result.get(k) is not None}
        told |= {"timesteps_total": told["step"]} if "step" in told else {}  # their axis
        self._jobs.put(lambda inner: inner.log_trial_result(iteration, shown, told))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        shown = self._shown(trial)
        self._jobs.put(lambda inner: inner.log_trial_end(shown, failed=False))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        shown = self._shown(trial)
        self._jobs.put(lambda inner: inner.log_trial_end(shown, failed=True))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._jobs.put(lambda inner: inner.on_experiment_end([]))
        self._jobs.put(None)
        self._thread.join(DRAIN_SECONDS)
        if self._thread.is_alive():
            self._note(f"{self._name}: not all was taken within {DRAIN_SECONDS:.0f} s")

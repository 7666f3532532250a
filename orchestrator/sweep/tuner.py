"""Runs one round of a sweep in Ray Tune."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ray import tune

from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.round import Round
from orchestrator.sweep.trackers import mirrors
from orchestrator.sweep.tune_hooks import (
    RoundCallback,
    RoundScheduler,
    RoundSearcher,
    keep_credentials,
)
from orchestrator.sweep.watchdog import Watchdog
from trainables.worker import TrialActor


def run_tuner(run: Round) -> None:
    """Run a round in Ray Tune until its searcher has no trial left."""
    keep_credentials()
    # The progress display reports how trials end.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="segprint-") as folder, _graceful_stop(run.display):
        tuner = tune.Tuner(
            TrialActor,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=RoundSearcher(run),
                scheduler=RoundScheduler(run),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=run.plan.study,
                storage_path=folder,
                callbacks=[RoundCallback(run, Watchdog(run)), *mirrors(run)],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tuner.fit()
            except Exception:
                if run.error is not None:  # Tune raises its own error with a long traceback
                    raise run.error from None
                raise
    if run.running:  # trials without an end: Tune left its loop on a signal
        run.display.stopped()
    for running in run.running.values():
        run.ledger.leases.release(running.trial.digest)


def _trial_name(trial: Any) -> str:
    return f"{trial.config['digest']}-{trial.trial_id}"


@contextmanager
def _graceful_stop(display: ProgressDisplay) -> Generator[None]:
    """Handle SIGINT and SIGTERM: after the first one trials keep a checkpoint, the second aborts.

    Tune ends its loop in good order on SIGUSR1 but not on SIGTERM, which Slurm and Kubernetes
    send.
    """
    received: list[int] = []

    def interrupt(_: int, __: object) -> None:
        raise KeyboardInterrupt  # before Tune's loop has installed its own handler

    def stop(number: int, _: object) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        display.interrupted = True  # even if the last trial ends at this moment
        display.note("stopping: trials keep a checkpoint; a second signal ends the sweep at once")
        os.kill(os.getpid(), signal.SIGUSR1)

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGUSR1: interrupt}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Overhead of a trial that computes nothing, against Ray's defaults, for 1 and 2 workers.

Ray's defaults are a Tune trial that starts a Ray Train run, as in Ray's guide. Segprint uses the
executors of a sweep. Neither trains, so the time is that of processes, imports, process groups and
reports. Each way runs in its own process with its own cluster; the first trial, which also starts
Tune, is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from cluster.local import Local
from trainables.config import parse
from trainables.schemas import Outcome, Tables
from trainables.training.run_status import RunStatus

TRIALS = {"defaults 1": 3, "ours 1": 20, "defaults 2": 3, "ours 2": 4}
CONFIG = {
    "task": {"synthetic": {"size": 16, "cases": 4}},
    "model": "intensity",
    "mode": "feedforward",
    "train": {"steps": 0},
}


class Committed:
    """A sink in which every trial is finished, so that an attempt ends at once."""

    code = "bench"

    def done(self, digest: str) -> Outcome | None:
        return "finished"

    def pruned(self, digest: str) -> bool:
        return False

    def resume(self, digest: str) -> None:
        return None

    def checkpoint(self, digest: str) -> None:
        return None

    def keep(self, digest: str, checkpoint: Any, status: RunStatus | None = None) -> None: ...

    def alive(self, digest: str, status: RunStatus | None = None) -> None: ...

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None: ...


def main() -> None:
    """Print the seconds per trial of each way, and the ratios."""
    found: dict[str, float] = {}
    for way, trials in TRIALS.items():
        env = {**os.environ, **(Local().environment() if way.startswith("ours") else {})}
        command = [sys.executable, "-m", "bench.overhead", way, str(trials)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
        print(f"  {way} worker(s): {found[way]:.2f} s per trial")
    for workers in (1, 2):
        ratio = found[f"ours {workers}"] / found[f"defaults {workers}"]
        print(f"  {workers} worker(s): ratio {ratio:.3f} to Ray's defaults")


def seconds_per_trial(way: str, trials: int) -> float:
    """Return the mean time between the ends of consecutive trials, run one at a time."""
    from ray import tune

    from trainables.worker import TrialActor

    ends: list[float] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, **_: Any) -> None:
            ends.append(time.perf_counter())

    ours, workers = way.startswith("ours"), int(way[-1])
    trainable: Any = TrialActor if ours else _defaults
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            trainable,
            param_space={**_job(workers), "number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=ours),
            run_config=tune.RunConfig(
                name="overhead", storage_path=folder, callbacks=[Ends()], verbose=0
            ),
        ).fit()
    assert len(ends) == trials
    return (ends[-1] - ends[0]) / (trials - 1)


def _job(workers: int) -> dict[str, Any]:
    config = parse(CONFIG)
    return {
        "config": config.plain(),
        "digest": config.digest(),
        "sink": Committed(),
        "workers": workers,
        "cpus": 1,
        "gpus": 0,
        "microbatch_factor": 1,
        "checkpoint_every": None,
        "collective_timeout": 600.0,
    }


def _defaults(job: dict[str, Any]) -> None:
    from ray import train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        _report,
        scaling_config=train.ScalingConfig(num_workers=job["workers"]),
        run_config=train.RunConfig(callbacks=[TuneReportCallback()]),
    ).fit()


def _report() -> None:
    from ray import train

    train.report({"score": 0.0})


def one() -> None:
    """Measure one way in this process; its arguments are ``WAY TRIALS``."""
    import logging

    import ray

    way, trials = sys.argv[1], int(sys.argv[2])
    if way.startswith("ours"):
        with Local().connect():
            print(json.dumps(seconds_per_trial(way, trials)))
    else:
        # One CPU more, for the Tune trial itself.
        ray.init(num_cpus=1 + int(way[-1]), logging_level=logging.ERROR, log_to_driver=False)
        print(json.dumps(seconds_per_trial(way, trials)))
        ray.shutdown()


if __name__ == "__main__":
    one()

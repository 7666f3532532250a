"""A sweep of trials that do nothing, against bare Ray Tune.

The sweep plans, declares, starts trials by Tune, commits six tables per trial and compacts them.
Bare Tune reuses actors, and its trials return at once without a record. Each side runs in its own
process with its own Ray, whose start is not counted. The cost of a trial without orchestration (its
work and its commit, in sequence in one process) is measured separately.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cluster import Cluster, Resources
from cluster.local import Local
from search_spaces import Space

TRIALS = [int(n) for n in os.environ.get("SEGPRINT_BENCH_SWEEPS", "1000 5000").split()]
TRIALS_ALONE = 200


def space(trials: int) -> Space:
    """Return a space of a given number of minimal trials."""
    return Space(
        question="What does a trial cost that costs nothing?",
        config={
            "task": {"synthetic": {"size": 8, "cases": 1}},
            "model": "intensity",
            "mode": "feedforward",
            "train": {"steps": 0},
            "probe": {"bins": 0},
        },
        replicates=trials,
        most=trials,
    )


def main() -> None:
    """Print trials per second and the driver's memory of both sides."""
    with tempfile.TemporaryDirectory() as folder:
        alone = in_new_process(partial(without_orchestration, f"{folder}/alone"))
        each = alone.seconds / TRIALS_ALONE
        print(f"sweeps: a trial without orchestration: {1000 * each:.1f} ms")
        for trials in TRIALS:
            ours = in_new_process(partial(with_segprint, f"{folder}/{trials}", trials))
            bare = in_new_process(partial(with_tune, trials))
            for name, side in (("segprint sweep", ours), ("bare Ray Tune", bare)):
                print(
                    f"sweeps: {trials} trials: {name}: {trials / side.seconds:.1f} trials/s,"
                    f" driver {side.megabytes:.0f} MiB, {side.growth:.0f} MiB of it for the trials"
                )
            added = (ours.seconds - bare.seconds) / trials
            print(
                f"sweeps: {trials} trials: ratio {ours.seconds / bare.seconds:.2f} in time,"
                f" {ours.megabytes / bare.megabytes:.2f} in memory;"
                f" {1000 * added:.1f} ms more per trial"
            )


class Cost:
    """The cost of a piece of work: seconds, and the peak memory of its process in MiB."""

    def __init__(self) -> None:
        self.seconds = self.megabytes = self.growth = 0.0

    @contextmanager
    def measured(self) -> Generator[None]:
        """Measure the block."""
        before, began = _peak(), time.perf_counter()
        yield
        self.seconds = time.perf_counter() - began
        self.megabytes = _peak()
        self.growth = self.megabytes - before


def in_new_process(work: Callable[[], Cost]) -> Cost:
    """Run the work in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work).result()


def without_orchestration(store: str) -> Cost:
    """Run trials in sequence, committed by the same process."""
    from orchestrator.ledger.ledger import Ledger
    from orchestrator.ledger.sink import LedgerSink
    from orchestrator.planning.plan import make_plan
    from orchestrator.storage.object_store import Store
    from trainables.runtime.worker_context import WorkerContext
    from trainables.training.attempt import attempt, outcome_of

    ledger, cost = Ledger(Store(store)), Cost()
    trials = make_plan("noop", space(1 + TRIALS_ALONE), ledger).pending
    sink = LedgerSink(ledger, "bench")
    outcome_of(attempt(trials[0].config, sink, WorkerContext()))
    with cost.measured():
        for trial in trials[1:]:
            outcome_of(attempt(trial.config, sink, WorkerContext()))
    return cost


def with_segprint(store: str, trials: int) -> Cost:
    """Run trials by :func:`orchestrator.sweep.driver.sweep`, as the command does."""
    os.environ.update(Local().environment())
    from rich.console import Console

    from orchestrator.ledger.ledger import Ledger
    from orchestrator.planning.cost import Estimator
    from orchestrator.storage.object_store import Store
    from orchestrator.sweep.driver import sweep
    from orchestrator.sweep.progress import ProgressDisplay

    ledger, cost = Ledger(Store(store)), Cost()
    with Local().connect() as resources, cost.measured(), open(os.devnull, "w") as nowhere:
        display = ProgressDisplay(Console(file=nowhere), Estimator(ledger))
        plan = sweep("noop", space(trials), ledger, RunningRay(resources), display)
        assert plan.complete
        assert len(ledger.commits()) == trials
    return cost


@dataclass(frozen=True)
class RunningRay(Cluster):
    """A Ray that already runs."""

    resources: Resources

    def environment(self) -> dict[str, str]:
        return {}

    def expected(self) -> Resources:
        return self.resources

    @contextmanager
    def connect(self) -> Generator[Resources]:
        yield self.resources


def with_tune(trials: int) -> Cost:
    """Run trials by bare Ray Tune, without results and checkpoints."""
    os.environ.update(Local().environment())
    from ray import tune

    class Nothing(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            pass

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def step(self) -> dict[str, Any]:
            return {"score": 0.0, "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

    cost = Cost()
    with tempfile.TemporaryDirectory() as folder, Local().connect(), cost.measured():
        tune.Tuner(
            tune.with_resources(Nothing, {"cpu": 1}),
            param_space={"seed": tune.randint(0, 1000)},
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    return cost


def _peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

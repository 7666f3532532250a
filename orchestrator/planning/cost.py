"""What a trial should cost: from committed trials like it, else from timing a step here."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot
from trainables.config import Config, parse
from trainables.data import prepared, tiles
from trainables.evaluation import evaluate, probe
from trainables.part import parts_in
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.loop import begun
from trainables.training.state import LibraryTraining, State

SETUP_SECONDS = 2.0
"""Of a trial in a warm process: reading the data, building the network."""
TIMING_SECONDS = 120.0
"""So long a user's code may take for the two steps that are timed."""
RAY_TRAIN_SECONDS = 16.0
"""Of starting one Ray Train run (measured with two gloo workers on two cores)."""


@dataclass(frozen=True)
class Cost:
    """Device-seconds of one trial, and where the figure comes from."""

    device_seconds: float
    source: str
    low: float
    """Between this and ``high`` nine tenths of the trials like it were; where there is none yet, a
    timed step is right within a factor of two."""
    high: float
    device: str
    """What it was measured on."""


class Estimator:
    """Costs by task, model and mode; reads the ledger once."""

    def __init__(self, ledger: Ledger) -> None:
        seen: dict[tuple[str, str, str], list[float]] = {}
        self._devices: dict[tuple[str, str, str], str] = {}
        columns = ["task", "model", "mode", "outcome", "steps", "device_seconds", "device"]
        for row in Snapshot(ledger.store).table("trials").select(columns).to_pylist():
            if row["device_seconds"] is not None and row["outcome"] in ("finished", "pruned"):
                per_step = row["device_seconds"] / max(1, row["steps"])
                key = (row["task"], row["model"], row["mode"])
                seen.setdefault(key, []).append(per_step)
                self._devices[key] = row["device"] or ""
        self._shares = {
            k: tuple(np.quantile(v, (0.05, 0.5, 0.95)).tolist()) for k, v in seen.items()
        }

    def cost(self, config: Config) -> Cost:
        """What one trial of this config should cost on one device."""
        steps = max(1, config.train.steps * config.mode.runs)
        key = (config.task.title, config.model.name, config.mode.name)
        shares = self._shares.get(key)
        if shares is not None:
            low, middle, high = (share * steps + SETUP_SECONDS for share in shares)
            return Cost(middle, "committed trials like it", low, high, self._devices[key])
        if not config.model.learns:
            return Cost(SETUP_SECONDS, "no training", SETUP_SECONDS, SETUP_SECONDS, here())
        timed = _by_timing(config)
        if timed is None:
            return Cost(SETUP_SECONDS, "cannot be timed here", SETUP_SECONDS, SETUP_SECONDS, here())
        low, middle, high = (SETUP_SECONDS + factor * timed for factor in (0.5, 1.0, 2.0))
        return Cost(middle, "timing a step here", low, high, here())


def here() -> str:
    """What this machine's device is called."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def wall_seconds(costs: Iterable[tuple[float, int]], cpus: int) -> float:
    """Wall time of (device-seconds, workers) trials packed onto the CPUs."""
    listed = list(costs)
    overhead = sum(RAY_TRAIN_SECONDS for _, workers in listed if workers > 1)
    return overhead + sum(seconds for seconds, _ in listed) / max(1, cpus)


_timed: dict[object, float | None] = {}


def _by_timing(config: Config) -> float | None:
    """Seconds of training and evaluation by a timed step; the same for all seeds and rates.

    None if that step raises, which the trial will do as well, and then it is recorded.
    """
    train = config.train
    sizes = (train.steps, train.batch, train.validate_every)
    key = (config.task, config.model, config.mode, config.test, config.probe, *sizes)
    if key not in _timed:
        own = not any(part.file for part in parts_in(config))
        try:
            _timed[key] = _whole(config) if own else _apart(config)
        except Exception:
            _timed[key] = None
    return _timed[key]


def _apart(config: Config) -> float:
    """The same in a process of its own, since a user's code may do anything, even end it or hang.

    That process waits for nothing: it also ends where this one is killed meanwhile.
    """
    context = multiprocessing.get_context("spawn")
    hears, tells = context.Pipe(duplex=False)
    child = context.Process(target=_tell, args=(tells, config.plain()))
    child.start()
    tells.close()
    try:
        with hears:
            if not hears.poll(TIMING_SECONDS):
                told = f"no step of model {config.model.name} within {TIMING_SECONDS:.0f} s"
                print(f"segprint: {told}: going on without an estimate", file=sys.stderr)
                raise TimeoutError(told)
            return hears.recv()  # EOFError: it ended without a word
    finally:
        child.kill()
        child.join()


def _tell(to: Connection, config: dict[str, Any]) -> None:
    with contextlib.suppress(Exception):
        to.send(_whole(parse(config)))


def _whole(config: Config) -> float:
    """Training plus evaluation, in units of one timed training step."""
    if config.model.trains_itself:
        return _by_its_library(config)
    step = _step_seconds(config)
    one_pass = step / (3 * config.train.batch)  # a backward pass costs two forward ones
    data = prepared(config)
    checks = 1 + config.train.steps // config.train.validate_every
    controls = 1 + len(config.test.controls)
    val, test = (evaluate.patches(config, cases) for cases in (data.val, data.test))
    passes = ((checks + 1) * val + controls * test) * config.mode.passes
    passes += probe.passes(config, len(tiles(data.test, data.size)))
    return step * config.train.steps * config.mode.runs + one_pass * passes


def _by_its_library(config: Config) -> float:
    """Preparation, steps and whole images, each timed once."""
    data, train = prepared(config), config.train
    with contextlib.closing(begun(config, data, WorkerContext(device=best_device()))) as run:
        assert isinstance(run, LibraryTraining)
        step = read = 0.0
        for _ in range(2):
            began = time.perf_counter()
            run.advance()
            step = time.perf_counter() - began
        began = time.perf_counter()
        evaluate.score(config, run.network, data.val[:1], WorkerContext())
        read = time.perf_counter() - began
        cases = train.steps // train.validate_every * len(data.val) + len(data.test)
        return run.tally.seconds + step * train.steps + read * cases


_steps_timed: dict[object, float] = {}


def _step_seconds(config: Config) -> float:
    """Seconds of one training step on one thread: the second of two; once per kind of step."""
    key = (config.model, config.mode.name, config.task.size, config.train.batch)
    if key not in _steps_timed:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        data, device = prepared(config), best_device()
        state = State(config, data, WorkerContext(device=device))
        for step in range(2):
            began = time.perf_counter()
            batch = data.batch(config, step, WorkerContext()).to(device)
            state.network.seed(batch.seeds_B)
            config.mode.losses(
                state.network, batch, config.classes, config.train.control
            ).mean().backward()
            _steps_timed[key] = time.perf_counter() - began
        torch.set_num_threads(threads)
    return _steps_timed[key]

"""The estimated cost of trials, from similar committed trials or from a step timed here."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import Plan
from orchestrator.planning.resources import workers_of
from orchestrator.planning.trainings import networks_to_train
from orchestrator.tables.snapshot import Snapshot
from search_spaces._workers import most
from trainables import batches
from trainables.config import Config, parse
from trainables.data import prepared, test_cases, tiles, wholes
from trainables.evaluation import evaluate, predict, probe
from trainables.part import parts_in
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.trainer import LibraryTrainer
from trainables.training.loop import create_trainer
from trainables.training.state import State

SETUP_SECONDS = 2.0
"""Reading the data and building the network in a process that has run a trial before."""
TIMING_SECONDS = 120.0
"""The time limit for timing two steps of a user's own code."""
RAY_TRAIN_SECONDS = 16.0
"""Starting one Ray Train run (measured with two gloo workers on two cores)."""


@dataclass(frozen=True)
class Cost:
    """The estimated device-seconds of one trial."""

    device_seconds: float
    source: str
    """The method of the estimate."""
    low: float
    """The 5 % quantile over similar committed trials; half of the estimate if a step was timed."""
    high: float
    """The 95 % quantile over similar committed trials; twice the estimate if a step was timed."""
    device: str
    """The device on which it was measured."""


class TrialKey(NamedTuple):
    """A trial's position in its study."""

    cell: str
    stage: str
    number: int
    """The number of a search trial, the seed of a final trial."""


STAGES = ("search", "final")


class RemainingTrial(NamedTuple):
    """The cost of a trial that is left to run, and its number of workers."""

    cost: Cost
    workers: int
    networks: int = 1
    """The number of networks that it trains; 0: it only reads."""


class TrialKind(NamedTuple):
    """Trials that have about the same costs per step and per pass."""

    task: str
    model: str
    mode: str


class Seconds(NamedTuple):
    """The device-seconds of a trial, or an estimate of them."""

    training: float
    reading: float


COLUMNS = [
    *("task", "model", "mode", "outcome", "steps", "device", "world_size", "device_seconds"),
    *("train_seconds", "validate_seconds", "reading_seconds"),
    *("passes_per_image", "test_images", "probe_passes"),
]
"""The columns of ``trials`` that costs are estimated from."""


class Estimator:
    """Estimates costs by task, model and mode; reads the ledger once."""

    def __init__(self, ledger: Ledger) -> None:
        per_step: dict[TrialKind, list[float]] = {}
        per_pass: dict[TrialKind, list[float]] = {}
        self._devices: dict[TrialKind, str] = {}
        for row in Snapshot(ledger.store).table("trials").select(COLUMNS).to_pylist():
            if row["device_seconds"] is not None and row["outcome"] in ("finished", "pruned"):
                kind = TrialKind(row["task"], row["model"], row["mode"])
                training, reading = _spent(row)
                per_step.setdefault(kind, []).append(training / max(1, row["steps"] or 0))
                if row["outcome"] == "finished":
                    images = (row["passes_per_image"] or 0) * (row["test_images"] or 0)
                    passes = images + (row["probe_passes"] or 0)
                    per_pass.setdefault(kind, []).append(reading / max(1, passes))
                self._devices[kind] = row["device"] or ""
        self._per_step = {kind: _quantiles(values) for kind, values in per_step.items()}
        self._per_pass = {kind: _quantiles(values) for kind, values in per_pass.items()}

    def cost(self, config: Config, networks: int | None = None) -> Cost:
        """Estimate the cost of one trial of this config on one device.

        ``networks`` is the number of networks that it trains, by default all that it reads.
        """
        networks = config.mode.runs if networks is None else networks
        kind = self._kind(config)
        if kind in self._per_step:
            steps = max(1, config.train.steps) * networks
            read = self._per_pass.get(kind, (0.0, 0.0, 0.0))
            passes = reading_passes(config)
            low, middle, high = (
                step * steps + one_pass * passes + SETUP_SECONDS
                for step, one_pass in zip(self._per_step[kind], read, strict=True)
            )
            return Cost(middle, "similar committed trials", low, high, self._devices[kind])
        if not config.model.learns:
            return _only_setup("no training")
        timed = _timed_seconds(config)
        if timed is None:
            return Cost(
                SETUP_SECONDS, "cannot be timed here", SETUP_SECONDS, SETUP_SECONDS, local_device()
            )
        seconds = timed.training * networks / config.mode.runs + timed.reading
        low, middle, high = (SETUP_SECONDS + factor * seconds for factor in (0.5, 1.0, 2.0))
        return Cost(middle, "timing a step here", low, high, local_device())

    def _kind(self, config: Config) -> TrialKind:
        """Return the kind of a trial; that of its training if its external test set is new."""
        model, mode = config.model.name, config.mode.name
        kind = TrialKind(config.tested.title, model, mode)
        return kind if kind in self._per_step else TrialKind(config.task.title, model, mode)


def reading_passes(config: Config) -> int:
    """Return the network passes of the test and of the probe of a trial."""
    test = test_cases(config.task, config.test)
    images = predict.passes_per_image(config) * len(wholes(test))
    return images + probe.passes(config, len(tiles(test, config.task.size)))


def _spent(row: Mapping[str, Any]) -> Seconds:
    """Return the device-seconds of training and of reading; without times all are training."""
    workers = row["world_size"] or 1
    if row["train_seconds"] is None:
        return Seconds(row["device_seconds"], 0.0)
    training = ((row["train_seconds"] or 0.0) + (row["validate_seconds"] or 0.0)) * workers
    if row["reading_seconds"] is None:
        return Seconds(training, max(0.0, row["device_seconds"] - training))
    return Seconds(training, row["reading_seconds"] * workers)


def _quantiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    return low, middle, high


def _only_setup(source: str) -> Cost:
    return Cost(SETUP_SECONDS, source, SETUP_SECONDS, SETUP_SECONDS, local_device())


def local_device() -> str:
    """Return the name of this machine's device."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def wall_seconds(costs: Iterable[tuple[float, int]], cpus: int) -> float:
    """Estimate the wall time of trials, given as (device-seconds, workers), on some CPUs."""
    trials = list(costs)
    overhead = sum(RAY_TRAIN_SECONDS for _, workers in trials if workers > 1)
    return overhead + sum(seconds for seconds, _ in trials) / max(1, cpus)


def remaining(plan: Plan, estimator: Estimator) -> dict[TrialKey, RemainingTrial]:
    """Return the cost of every trial that the plan still lacks.

    Trials whose configs are not known yet cost as much as the cell's example config. Trials of one
    config run once, and the others cost nothing.
    """
    trials: dict[TrialKey, RemainingTrial] = {}
    digests = set[str]()
    for t, networks in networks_to_train(plan.pending, plan.kept, keeps=plan.keeps):
        cost = estimator.cost(t.config, networks)
        if t.digest in digests:
            cost = _nothing(cost)
        digests.add(t.digest)
        key = TrialKey(t.cell.name, t.stage, t.index)
        trials[key] = RemainingTrial(cost, most(t.workers), networks)
    cells = {cell.name: cell for cell in plan.cells}
    for name, example in plan.examples.items():
        searching, final = (most(workers_of(plan.space, cells[name], s)) for s in STAGES)
        suggested = sum(t.cell.name == name and t.stage == "search" for t in plan.trials)
        for index in range(suggested, suggested + plan.suggestions_left.get(name, 0)):
            cost = estimator.cost(example.search)
            trials[TrialKey(name, "search", index)] = RemainingTrial(cost, searching)
        for index in range(plan.finals_waiting.get(name, 0)):
            cost, networks = estimator.cost(example.final), 1
            if dataclasses.replace(example.final, seed=index).digest() == example.search.digest():
                cost, networks = _nothing(cost), 0  # the best search trial is this final trial
            trials[TrialKey(name, "final", index)] = RemainingTrial(cost, final, networks)
    return trials


def _nothing(cost: Cost) -> Cost:
    return dataclasses.replace(cost, device_seconds=0.0, low=0.0, high=0.0)


_timed: dict[object, Seconds | None] = {}


def _timed_seconds(config: Config) -> Seconds | None:
    """Estimate the seconds of training and evaluation from a timed step, once per kind of trial.

    Returns None if the step raises: the trial then fails too, and its error is recorded.
    """
    train = config.train
    sizes = (train.steps, train.batch, train.validate_every)
    key = (config.task, config.model, config.mode, config.test, config.probe, *sizes)
    if key not in _timed:
        user_code = any(part.file for part in parts_in(config))
        try:
            _timed[key] = _time_in_process(config) if user_code else _trial_seconds(config)
        except Exception:
            _timed[key] = None
    return _timed[key]


def _time_in_process(config: Config) -> Seconds:
    """Time a config in a child process, since a user's code may hang or end its process.

    Raises:
        TimeoutError: no step was done within :data:`TIMING_SECONDS`.
        EOFError: the child ended without a result.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_seconds, args=(sender, config.plain()))
    with _no_main_module():
        child.start()
    sender.close()
    try:
        with receiver:
            if not receiver.poll(TIMING_SECONDS):
                problem = f"no step of model {config.model.name} within {TIMING_SECONDS:.0f} s"
                print(f"segprint: {problem}; its cost is not estimated", file=sys.stderr)
                raise TimeoutError(problem)
            return receiver.recv()
    finally:
        child.kill()
        child.join()


@contextlib.contextmanager
def _no_main_module() -> Generator[None]:
    """Hide the main module from a new process, which would execute a user's script once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _send_seconds(sender: Connection, config: dict[str, Any]) -> None:
    with contextlib.suppress(Exception):
        sender.send(_trial_seconds(parse(config)))


def _trial_seconds(config: Config) -> Seconds:
    """Return the seconds of training and evaluation, in units of one timed training step."""
    if config.model.trains_itself:
        return _library_seconds(config)
    step = _step_seconds(config)
    one_pass = step / (3 * config.train.batch)  # a backward pass costs two forward ones
    data = prepared(config)
    validations = 1 + config.train.steps // config.train.validate_every
    controls = 1 + len(config.test.controls)
    val, test = (predict.patches(config, cases) for cases in (data.val, data.test))
    training = config.trainings[0]
    quick = predict.patches(training, prepared(training).val) * training.mode.passes
    passes = (val + controls * test) * config.mode.passes
    passes += probe.passes(config, len(tiles(data.test, data.size)))
    one_network = step * config.train.steps + one_pass * validations * quick
    return Seconds(one_network * config.mode.runs, one_pass * passes)


def _library_seconds(config: Config) -> Seconds:
    """Return the seconds of a model that an external library trains; each phase is timed once."""
    data, train = prepared(config), config.train
    run = Run(config, WorkerContext(device=best_device()), data)
    with contextlib.closing(create_trainer(run)) as trainer:
        assert isinstance(trainer, LibraryTrainer)
        step_seconds = 0.0
        for _ in range(2):
            began = time.perf_counter()
            trainer.advance()
            step_seconds = time.perf_counter() - began
        began = time.perf_counter()
        first = dataclasses.replace(data, val=data.val[:1])
        evaluate.score(Run(config, WorkerContext(), first), trainer.network)
        case_seconds = time.perf_counter() - began
        validated = train.steps // train.validate_every * len(data.val)
        training = trainer.record.seconds + step_seconds * train.steps + case_seconds * validated
        return Seconds(training, case_seconds * len(data.test))


_steps_timed: dict[object, float] = {}


def _step_seconds(config: Config) -> float:
    """Time the second of two training steps on one thread, once per kind of step."""
    key = (config.model, config.mode.name, config.task.size, config.train.batch)
    if key not in _steps_timed:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        data, device = prepared(config), best_device()
        state = State(Run(config, WorkerContext(device=device), data))
        for step in range(2):
            began = time.perf_counter()
            batch = batches.draw(state.run, step).to(device)
            state.network.seed(batch.seeds_B)
            losses = config.mode.losses(state.network, batch, config.classes, config.train.control)
            losses.mean().backward()  # pyright: ignore[reportUnknownMemberType] - untyped in torch
            _steps_timed[key] = time.perf_counter() - began
        torch.set_num_threads(threads)
    return _steps_timed[key]

"""The seconds of a trial, from a training step and a forward pass timed here."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import torch

from orchestrator.planning.device_memory import available_memory
from orchestrator.planning.memory_estimate import memory_need, surely_fits
from trainables import batches
from trainables.config import Config, parse
from trainables.data import prepared, tiles
from trainables.evaluation import evaluate, predict, probe
from trainables.part import parts_in
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.trainer import LibraryTrainer
from trainables.training.loop import create_trainer
from trainables.training.state import State

TIMING_SECONDS = 120.0
"""The time limit for timing in a child process."""
LARGE_BYTES = 2**30
"""A step that needs more is timed in a child process."""
REPEATS = 4
"""Timed calls after the first, which also allocates; the fastest counts."""
ENOUGH_SECONDS = 2.0
"""No more calls are timed after so long."""


class Seconds(NamedTuple):
    """The device-seconds of a trial, or an estimate of them."""

    training: float
    reading: float


Result = TypeVar("Result")
_timed: dict[object, Seconds | None] = {}


def timed_seconds(config: Config) -> Seconds | None:
    """Estimate the seconds of training and evaluation from a timed step, once per kind of trial.

    Returns None if the step raises: the trial then fails too, and its error is recorded; or if it
    does not fit into the memory that is free here.
    """
    train = config.train
    sizes = (train.steps, train.batch, train.validate_every)
    key = (config.task, config.model, config.mode, config.test, config.probe, *sizes)
    if key not in _timed:
        user_code = any(part.file for part in parts_in(config))
        try:
            seconds = _in_child(_trial_seconds, config) if user_code else _trial_seconds(config)
            _timed[key] = seconds
        except Exception:
            _timed[key] = None
    return _timed[key]


def _in_child(timing: Callable[[Config], Result], config: Config) -> Result:
    """Time a config in a child process.

    A user's code may hang or end its process, and a large network leaves gigabytes in it.

    Raises:
        TimeoutError: no step was done within :data:`TIMING_SECONDS`.
        EOFError: the child ended without a result.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_seconds, args=(sender, timing, config.plain()))
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


def _send_seconds(
    sender: Connection, timing: Callable[[Config], object], config: dict[str, Any]
) -> None:
    with contextlib.suppress(Exception):
        sender.send(timing(parse(config)))


def _is_large(config: Config) -> bool:
    """Whether a step needs more than :data:`LARGE_BYTES`, as far as this is known."""
    if surely_fits(config, LARGE_BYTES):
        return False
    need = memory_need(config, 1, best_device())
    return need is not None and need.training > LARGE_BYTES


def _fits_here(config: Config) -> bool:
    """Whether a step fits into the memory that is free, as far as this is known."""
    device = best_device()
    free = available_memory(device)
    if surely_fits(config, free):
        return True
    need = memory_need(config, 1, device)
    return need is None or need.training < free


def _trial_seconds(config: Config) -> Seconds:
    """Return the seconds of training and evaluation, in units of one timed training step.

    Raises:
        MemoryError: the step does not fit into the memory that is free.
    """
    if config.model.trains_itself:
        return _library_seconds(config)
    if not _fits_here(config):
        raise MemoryError
    step, one_pass = _call_seconds(config)
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


class _CallSeconds(NamedTuple):
    """The seconds of one training step, and of one forward pass of one image."""

    step: float
    one_pass: float


_calls_timed: dict[object, _CallSeconds] = {}


def _call_seconds(config: Config) -> _CallSeconds:
    """Time a training step and a forward pass on one thread, once per kind of step."""
    key = (config.model, config.mode.name, config.task.size, config.train.batch)
    if key not in _calls_timed:
        large = _is_large(config)
        _calls_timed[key] = _in_child(_time_calls, config) if large else _time_calls(config)
    return _calls_timed[key]


def _time_calls(config: Config) -> _CallSeconds:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data, device = prepared(config), best_device()
    state = State(Run(config, WorkerContext(device=device), data))
    clock = _clock(config, device)
    batch = batches.draw(state.run, 0).to(device)

    def losses() -> torch.Tensor:
        state.network.seed(batch.seeds_B)
        with predict.autocast(state.run):
            return config.mode.losses(state.network, batch, config.classes, config.train.control)

    def step() -> None:
        losses().mean().backward()  # pyright: ignore[reportUnknownMemberType] - untyped in torch

    @torch.no_grad()
    def forward() -> None:
        losses()

    seconds = [_fastest(call, clock) for call in (step, forward)]
    torch.set_num_threads(threads)
    return _CallSeconds(seconds[0], seconds[1] / config.train.batch)


def _clock(config: Config, device: str) -> Callable[[], float]:
    """Return the clock that other programs on this machine disturb least.

    The time of this process on the CPU does not depend on their load. A GPU works outside of it,
    and a user's code may wait.
    """

    def gpu_clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    if device != "cpu":
        return gpu_clock
    return time.perf_counter if any(p.file for p in parts_in(config)) else time.process_time


def _fastest(call: Callable[[], None], clock: Callable[[], float]) -> float:
    """Return the seconds of the fastest call; the first one is not counted."""
    call()
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH_SECONDS:
        began = clock()
        call()
        seconds.append(clock() - began)
    return min(seconds)

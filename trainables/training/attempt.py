"""One attempt at one config: train, keep checkpoints, hand over a complete record at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import sys
import traceback
import warnings
from collections.abc import Generator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch

from trainables.config import Config
from trainables.decoding.cache import load
from trainables.evaluation.evaluate import passes_per_image
from trainables.modes.diffusion import Diffusion
from trainables.part import without_home
from trainables.runtime.environment import ran_on
from trainables.runtime.heartbeat import Heartbeat
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError, Outcome, Tables
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, Row, train
from trainables.training.state import read_checkpoint


class Sink(Protocol):
    """Where checkpoints and records go; picklable, so that it can travel to a worker."""

    @property
    def code(self) -> str:
        """The version of the code that runs."""
        ...

    def done(self, digest: str) -> Outcome | None:
        """How this config ended for good, if somebody committed it already."""
        ...

    def resume(self, digest: str) -> bytes | None:
        """The newest checkpoint of this config, if there is one, for who works on it from now."""
        ...

    def checkpoint(self, digest: str) -> bytes | None:
        """The same for who only reads it."""
        ...

    def keep(self, digest: str, checkpoint: bytes) -> None:
        """Replace the config's checkpoint."""
        ...

    def alive(self, digest: str) -> None:
        """Say that this config's run gets on."""
        ...

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        """Make the attempt's record visible, whole or not at all."""
        ...


class Ended(NamedTuple):
    """How an attempt ended, and why, where that is worth a word."""

    outcome: Outcome
    reason: str | None = None


def attempt(
    config: Config, sink: Sink, context: WorkerContext, digest: str | None = None
) -> Generator[Progress, None, Ended]:
    """Drive one worker through a run; rank 0 keeps checkpoints and commits how it ended.

    Whoever knows the ``digest`` gives it: to find it takes the data, which may take long to decode,
    and a run gives signs of life by its digest.

    A divergence or an exception is an outcome, recorded with its reason, not raised: the sweep
    goes on. With several workers an exception is raised, so that the others are not left waiting
    for this one; who started them records it.
    """
    began = datetime.now(UTC)
    digest = digest or config.digest()
    history: list[Row] = []
    ran = ran_on(context, config.model.package)
    reset_peak_memory(context)
    try:
        # A worker may die after its commit and before its report, and be started again.
        done = context.broadcast(_committed(sink, digest) if context.rank == 0 else None)
        if done is not None:
            return Ended(cast("Outcome", done.decode()))
        found, history = (
            _readable(sink.resume(digest), digest) if context.rank == 0 else (None, history)
        )
        resume = context.broadcast(found)
        # Where another worker hangs, the first one waits for it.
        tell = partial(sink.alive, digest) if context.rank == 0 else lambda: None
        with Heartbeat(tell) as pulse:
            _same(config, digest)
            run = train(config, dataclasses.replace(context, beat=pulse.beat), resume)
            while True:
                try:
                    progress = next(run)
                except StopIteration as end:
                    measured: RunResult = end.value
                    break
                history = progress.history
                if progress.score is not None and context.rank == 0:
                    sink.keep(digest, progress.save())
                yield dataclasses.replace(progress, ran=ran)
    except Exception as error:
        outcome: Outcome = "diverged" if isinstance(error, DivergedError) else "failed"
        if context.world > 1 and outcome == "failed":
            raise
        reason = _reason(error)
        if context.rank == 0:
            trial = {**about(config, sink, began, ran), "reason": reason}
            sink.commit(digest, outcome, _unfinished(trial, outcome, history))
        return Ended(outcome, reason)
    if context.rank == 0:
        trial = {**about(config, sink, began, ran), **_costs(config, measured, context)}
        if measured.split > 1:
            trial["reason"] = f"short of memory: each batch in {measured.split} times more parts"
        sink.commit(
            digest,
            "finished",
            {
                "trials": [{**trial, "outcome": "finished"}],
                "steps": measured.tally.history,
                **vars(measured.rows),
                "probes": measured.probes,
                "logs": measured.logs,
            },
        )
    return Ended("finished")


def commit_unfinished(config: Config, sink: Sink, outcome: Outcome, reason: str, ran: Row) -> None:
    """Commit an attempt that was ended from outside, with the history in its checkpoint.

    ``ran`` is what it ran on, as far as its reports said so.
    """
    digest = config.digest()
    _, history = _readable(sink.checkpoint(digest), digest)
    trial = {**about(config, sink, datetime.now(UTC), ran), "reason": reason}
    sink.commit(digest, outcome, _unfinished(trial, outcome, history))


def about(config: Config, sink: Sink, began: datetime, ran: Row) -> Row:
    """The part of a ``trials`` row that is known before training; ``ran`` says where it ran."""
    mode = config.mode
    return {
        **ran,
        "task": config.task.title,
        "model": config.model.name,
        "mode": mode.name,
        "schedule": mode.schedule.name if isinstance(mode, Diffusion) else None,
        "seed": config.seed,
        "config": json.dumps(config.plain(), sort_keys=True),
        "data_hash": load(config.task).content_hash,
        "passes_per_image": passes_per_image(config),
        "started_at": began,
        "ended_at": datetime.now(UTC),
        "code": sink.code,
    }


def _costs(config: Config, measured: RunResult, context: WorkerContext) -> Row:
    tally = measured.tally
    busy = (
        tally.train_seconds
        + tally.validate_seconds
        + measured.test_seconds
        + measured.probe_seconds
        + measured.further_seconds
    )
    return {
        "steps": tally.history[-1]["step"],
        "best_step": tally.best_step,
        "score": tally.best_score,
        "parameters": measured.parameters,
        "macs_per_pass": measured.macs_per_pass,
        **_counted(measured),
        "train_seconds": tally.train_seconds,
        "validate_seconds": tally.validate_seconds,
        "test_seconds": measured.test_seconds,
        "probe_seconds": measured.probe_seconds,
        "probe_passes": measured.probe_passes,
        "test_images": measured.test_images,
        "device_seconds": busy * context.world,
        "peak_host_bytes": peak_host(),
        "peak_device_bytes": _peak_device(context),
    }


def _counted(measured: RunResult) -> Row:
    found = measured.passes_per_image
    return {} if found is None else {"passes_per_image": found}


def _unfinished(trial: Row, outcome: Outcome, history: list[Row]) -> dict[str, list[Row]]:
    best = max(history, key=lambda row: row["score_sum"] / row["score_count"], default=None)
    seconds = sum(row["seconds"] for row in history) if history else None
    world = trial.get("world_size")
    trial = {
        **trial,
        "outcome": outcome,
        "steps": history[-1]["step"] if history else 0,
        "best_step": best["step"] if best else None,
        "score": best["score_sum"] / best["score_count"] if best else None,
        "train_seconds": seconds,
        "device_seconds": seconds * world if seconds is not None and world is not None else None,
    }
    return {"trials": [trial], "steps": history}


def _committed(sink: Sink, digest: str) -> bytes | None:
    outcome = sink.done(digest)
    return outcome.encode() if outcome is not None else None


def _same(config: Config, digest: str) -> None:
    """Decodes the data, if nobody did before."""
    found = config.digest()
    if found != digest:
        raise ValueError(
            f"its digest is {found} here, it was sent as {digest}: the data of {config.task.title},"
            " or the code, are not those of who sent it"
        )


def _readable(checkpoint: bytes | None, digest: str) -> tuple[bytes | None, list[Row]]:
    """The checkpoint, and the rows of the ``steps`` table that it carries; none of either if it is
    damaged or foreign: then the run starts over, with a warning.
    """
    if checkpoint is None:
        return None, []
    try:
        _, about = read_checkpoint(checkpoint)
        if about["digest"] != digest:
            raise ValueError(f"it belongs to {about['digest']}")
    except ValueError as error:
        warnings.warn(f"checkpoint of {digest} ignored, starting over: {error}", stacklevel=2)
        return None, []
    return checkpoint, about["tally"]["history"]


def _reason(error: Exception) -> str:
    """The error in one line, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return without_home(f"{type(error).__name__}: {error}{where}".replace("\n", " "))[:2000]


def reset_peak_memory(context: WorkerContext) -> None:
    """Forget the peak of the trials before this one in the same process."""
    if context.device != "cpu":
        torch.cuda.reset_peak_memory_stats(context.device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is the process's
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_device(context: WorkerContext) -> int | None:
    """Most bytes allocated on the device at once; None without one."""
    return None if context.device == "cpu" else torch.cuda.max_memory_allocated(context.device)


def peak_host() -> int:
    """The process's largest resident size, bytes."""
    with contextlib.suppress(OSError):  # elsewhere than on Linux; some containers hide the line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte


def outcome_of(run: Generator[Progress, None, Ended]) -> Outcome:
    """Drive a generator to its end and return how that was."""
    while True:
        try:
            next(run)
        except StopIteration as end:
            ended: Ended = end.value
            return ended.outcome

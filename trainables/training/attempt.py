"""One attempt at one config: trains, keeps checkpoints and commits the result."""

from __future__ import annotations

import dataclasses
import traceback
import warnings
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from trainables.checkpoint import read_checkpoint
from trainables.config import Config
from trainables.part import without_home
from trainables.rows import Environment, StepRow
from trainables.runtime.environment import environment_of
from trainables.runtime.heartbeat import Heartbeat
from trainables.runtime.memory import reset_peak_memory
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError, Outcome, Tables
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, train
from trainables.training.run_status import StatusMeter
from trainables.training.sink import Sink
from trainables.training.trial_row import finished, trial_row, unfinished
from trainables.user_files import position


class AttemptEnd(NamedTuple):
    """The outcome of an attempt, and its reason where there is one."""

    outcome: Outcome
    reason: str | None = None
    final_score: float | None = None
    """The mean Dice of the validation cases under the run's own reading; None unless finished."""


def attempt(
    config: Config, sink: Sink, context: WorkerContext, digest: str | None = None
) -> Generator[Progress, None, AttemptEnd]:
    """Drive one worker through a run; rank 0 keeps checkpoints and commits the outcome.

    A caller that knows the ``digest`` passes it: computing it needs the data, which may take long
    to decode, and the run reports its progress under its digest.

    A divergence or an exception is an outcome that is committed with its reason, not raised: the
    sweep goes on. With several workers an exception is raised, so that the others do not wait for
    this one; the driver commits it.
    """
    began = datetime.now(UTC)
    digest = digest or config.digest()
    history: list[StepRow] = []
    environment = environment_of(context, config.model.package)
    reset_peak_memory(context.device)
    leads = context.rank == 0
    try:
        # A worker may be restarted that died between its commit and its report.
        committed = context.broadcast(_committed(sink, digest) if leads else None)
        if committed is not None:
            return AttemptEnd(cast("Outcome", committed.decode()))
        checkpoint = None
        if leads:
            checkpoint, history = _usable(sink.resume(digest), digest)
        checkpoint = context.broadcast(checkpoint)
        # Where another worker hangs, rank 0 waits for it: one heartbeat is enough.
        meter = StatusMeter()
        meter.begin(environment)
        report = (lambda: sink.alive(digest, meter.status)) if leads else lambda: None
        with Heartbeat(report) as heartbeat:
            _check_digest(config, digest)
            beating = dataclasses.replace(context, beat=heartbeat.beat)
            run = train(config, beating, checkpoint, sink)
            while True:
                try:
                    progress = next(run)
                except StopIteration as end:
                    result: RunResult = end.value
                    break
                history = progress.history
                meter.update(progress)
                if progress.score is not None and leads:
                    sink.keep(digest, progress.save(), meter.status)
                yield dataclasses.replace(progress, environment=environment)
    except Exception as error:
        outcome: Outcome = "diverged" if isinstance(error, DivergedError) else "failed"
        if context.world > 1 and outcome == "failed":
            raise
        reason = _reason(error)
        if leads:
            trial = trial_row(config, sink.code, began, environment)
            row = unfinished(trial, outcome, reason, history)
            sink.commit(digest, outcome, {"trials": [row], "steps": history})
        return AttemptEnd(outcome, reason)
    if leads:
        row = finished(trial_row(config, sink.code, began, environment), result, context)
        tables: Tables = {
            "trials": [row],
            "steps": result.record.history,
            **vars(result.rows),
            "probes": result.probes,
            "logs": result.logs,
        }
        sink.commit(digest, "finished", tables)
    return AttemptEnd("finished", final_score=result.record.best_score)


def commit_unfinished(
    config: Config, sink: Sink, outcome: Outcome, reason: str, environment: Mapping[str, Any]
) -> None:
    """Commit an attempt that the driver ended, with the history in its checkpoint.

    ``environment`` holds the columns that the reports of the attempt contained.
    """
    digest = config.digest()
    _, history = _usable(sink.checkpoint(digest), digest)
    trial = trial_row(config, sink.code, datetime.now(UTC), cast("Environment", environment))
    row = unfinished(trial, outcome, reason, history)
    sink.commit(digest, outcome, {"trials": [row], "steps": history})


def _committed(sink: Sink, digest: str) -> bytes | None:
    outcome = sink.done(digest)
    return outcome.encode() if outcome is not None else None


def _check_digest(config: Config, digest: str) -> None:
    """Decode the data if necessary, and compare the digest of the config with the expected one."""
    actual = config.digest()
    if actual != digest:
        raise ValueError(
            f"its digest is {actual} here and {digest} where it was sent: the data of"
            f" {config.task.title}, or the code, differ between the two machines"
        )


def _usable(checkpoint: bytes | None, digest: str) -> tuple[bytes | None, list[StepRow]]:
    """Return the checkpoint and its history.

    A damaged or foreign checkpoint is ignored with a warning: the run starts over.
    """
    if checkpoint is None:
        return None, []
    try:
        _, header = read_checkpoint(checkpoint)
        if header["digest"] != digest:
            raise ValueError(f"it belongs to {header['digest']}")
    except ValueError as error:
        warnings.warn(f"checkpoint of {digest} ignored, starting over: {error}", stacklevel=2)
        return None, []
    return checkpoint, header["tally"]["history"]


def _reason(error: Exception) -> str:
    """Return the error in one line, with the place where it was raised, in a user's file if any."""
    place = position(error)
    frames = traceback.extract_tb(error.__traceback__)
    if place is None and frames:
        place = f"{frames[-1].name}, line {frames[-1].lineno}"
    where = "" if place is None else f" ({place})"
    return without_home(f"{type(error).__name__}: {error}{where}".replace("\n", " "))[:2000]


def outcome_of(run: Generator[Progress, None, AttemptEnd]) -> Outcome:
    """Drive a generator of :func:`attempt` to its end and return the outcome."""
    while True:
        try:
            next(run)
        except StopIteration as end:
            ended: AttemptEnd = end.value
            return ended.outcome

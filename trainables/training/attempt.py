"""One attempt at one config: trains, keeps checkpoints and commits the result."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import traceback
import warnings
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, cast

from trainables.checkpoint import Checkpoint
from trainables.config import Config
from trainables.part import without_home
from trainables.rows import Environment, StepRow
from trainables.runtime.environment import environment_of
from trainables.runtime.heartbeat import Heartbeat
from trainables.runtime.memory import limit_memory, reset_peak_memory
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError, Outcome, Tables
from trainables.training.checkpoint_writer import CheckpointWriter
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
    config: Config,
    sink: Sink,
    context: WorkerContext,
    digest: str | None = None,
    checkpoint_every: float | None = None,
) -> Generator[Progress, None, AttemptEnd]:
    """Drive one worker through a run; rank 0 keeps checkpoints and commits the outcome.

    A caller that knows the ``digest`` passes it: computing it needs the data, which may take long
    to decode, and the run reports its progress under its digest.

    Checkpoints are written in the background, every ``checkpoint_every`` minutes
    (:attr:`search_spaces.Space.checkpoint_every`); None: at every validation.

    A divergence or an exception is an outcome that is committed with its reason, not raised: the
    sweep goes on. With several workers an exception is raised, so that the others do not wait for
    this one; the driver commits it.
    """
    began = datetime.now(UTC)
    digest = digest or config.digest()
    history: list[StepRow] = []
    environment = environment_of(context, config.model.package)
    limit_memory(context.device, context.gpu_share)
    reset_peak_memory(context.device)
    leads = context.rank == 0
    try:
        # A worker may be restarted that died between its commit and its report.
        committed = context.broadcast(_committed(sink, digest) if leads else None)
        if committed is not None:
            return AttemptEnd(cast("Outcome", committed.decode()))
        checkpoint = _resumed(sink, digest, context)
        if checkpoint is not None:
            history = checkpoint.header["tally"]["history"]
        # Where another worker hangs, rank 0 waits for it: one heartbeat is enough.
        meter = StatusMeter()
        meter.begin(environment)
        report = (lambda: sink.alive(digest, meter.status)) if leads else lambda: None
        writer = CheckpointWriter(sink, digest, checkpoint_every, lambda: meter.status)
        with Heartbeat(report) as heartbeat, writer:
            _check_digest(config, digest)
            beating = dataclasses.replace(context, beat=heartbeat.beat)
            run = train(config, beating, checkpoint, sink)
            del checkpoint  # the run frees its tensors once it has loaded them
            while True:
                try:
                    progress = next(run)
                except StopIteration as end:
                    result: RunResult = end.value
                    break
                history = progress.history
                meter.update(progress)
                if leads and writer.due(validated=progress.score is not None):
                    writer.begin(progress.save())
                keep = partial(writer.keep, progress) if leads else lambda: None
                yield dataclasses.replace(progress, environment=environment, keep=keep)
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
    config: Config,
    sink: Sink,
    outcome: Outcome,
    reason: str,
    environment: Mapping[str, Any],
    history: Sequence[StepRow] = (),
) -> None:
    """Commit an attempt that the driver ended.

    ``environment`` holds the columns that the reports of the attempt contained, and ``history`` the
    rows of its validations; without any, those in its checkpoint count.
    """
    digest = config.digest()
    rows = list(history) or _history(sink, digest)
    trial = trial_row(config, sink.code, datetime.now(UTC), cast("Environment", environment))
    row = unfinished(trial, outcome, reason, rows)
    sink.commit(digest, outcome, {"trials": [row], "steps": rows})


def _history(sink: Sink, digest: str) -> list[StepRow]:
    with _ignoring_damage(digest):
        checkpoint = sink.checkpoint(digest)
        if checkpoint is not None:
            checkpoint.require_digest(digest)
            return checkpoint.header["tally"]["history"]
    return []


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


def _resumed(sink: Sink, digest: str, context: WorkerContext) -> Checkpoint | None:
    """Return the newest checkpoint on every worker; rank 0 reads it, once.

    A damaged or foreign checkpoint is ignored with a warning: the run starts over.
    """
    checkpoint = None
    if context.rank == 0:
        with _ignoring_damage(digest):
            stored = sink.resume(digest)
            if stored is not None:
                stored.require_digest(digest)
            checkpoint = stored
    if context.world == 1:
        return checkpoint
    header = context.broadcast(json.dumps(checkpoint.header).encode() if checkpoint else None)
    if header is None:
        return None
    state_dicts = context.broadcast_tensors(checkpoint.state_dicts if checkpoint else None)
    return Checkpoint(state_dicts, json.loads(header))


@contextlib.contextmanager
def _ignoring_damage(digest: str) -> Generator[None]:
    """Warn of a checkpoint that cannot be used, instead of raising."""
    try:
        yield
    except ValueError as error:
        warnings.warn(f"checkpoint of {digest} ignored, starting over: {error}", stacklevel=4)


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

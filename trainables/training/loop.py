"""The training loop: plain PyTorch, no cluster; yields its progress and returns what it measured.

Every draw depends on the seed and the step alone, so a run resumed from a checkpoint, or shared by
more workers, goes through the same numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables import controls
from trainables.config import Config
from trainables.data import Prepared, prepared
from trainables.evaluation import evaluate
from trainables.layers.batchnorm import BatchNorm2d
from trainables.models import Network
from trainables.part import require
from trainables.runtime.worker_context import WorkerContext
from trainables.training.final_test import RunResult, test, together
from trainables.training.state import LibraryTraining, State, Training
from trainables.training.step import learner_of, step

Row = dict[str, Any]

BEAT_SECONDS = 5.0
"""Longest stretch of training steps without a word: how soon a run can be told to stop."""


@dataclass(frozen=True)
class Progress:
    """Sent at every validation, and between two of them every few seconds of training."""

    step: int
    steps: int
    score: float | None
    """None between validations."""
    case_scores: list[float]
    """Of each validation case, in their order; ``score`` is their mean. Empty between two."""
    history: list[Row]
    """Rows of the ``steps`` table so far."""
    save: Callable[[], bytes]
    """A checkpoint of this moment, to resume from; only until the run goes on."""
    ran: Row = dataclasses.field(default_factory=dict[str, Any])
    """What it runs on (:func:`trainables.runtime.environment.ran_on`); the attempt says it."""


def train(
    config: Config, context: WorkerContext, resume: bytes | None = None
) -> Generator[Progress, None, RunResult]:
    """Train one config on this worker, in step with the others; the result is the same on all.

    Raises:
        DivergedError: a NaN or inf, with its step.
        ValueError: ``resume`` is not a checkpoint of this config; the batch cannot be shared by so
            many workers; a control needs a second case; the data are not as their set promises.
    """
    digest = config.digest()
    _settle(config, context)
    data = prepared(config)
    _check(config, data, context)
    state = begun(config, data, context)
    if not state.splits or any(isinstance(m, BatchNorm2d) for m in state.network.modules()):
        context = dataclasses.replace(
            context, microbatch_factor=1
        )  # parts would have other statistics
    with contextlib.closing(state):
        if resume is not None:
            state.load(resume, digest)
        yield from _learn(state, context, digest)
        while state.next():
            yield from _learn(state, context, digest)
        if state.trained:
            _validate_whole(config, state, data, context)
        return test(config, state, data, context)


def begun(config: Config, data: Prepared, context: WorkerContext) -> Training:
    """What a config trains before its first step: by our own steps, or by its library's."""
    if not config.model.trains_itself:
        return State(config, data, context)
    from trainables.nnunet.training import NNUNetTraining  # its library takes seconds to import

    return NNUNetTraining(config, data, context)


def _advance(
    config: Config, state: Training, data: Prepared, context: WorkerContext
) -> Callable[[], float]:
    """What makes one step, and returns the sum of its case losses."""
    if isinstance(state, LibraryTraining):
        return state.advance
    assert isinstance(state, State)
    learner = learner_of(config, state.network, context)
    return lambda: float(step(config, state, learner, data, context))


def _learn(state: Training, context: WorkerContext, digest: str) -> Iterator[Progress]:
    """Train one network to its end, from where it is."""
    config, tally = state.config, state.tally
    data = prepared(config)
    advance = _advance(config, state, data, context)
    steps, every = config.train.steps, config.train.validate_every
    while not _over(config, state):
        began = time.perf_counter()
        due = state.step >= steps
        while not due:
            tally.loss_sum += advance()
            due = state.step >= steps or state.step % every == 0
            if time.perf_counter() > began + BEAT_SECONDS:
                break
        tally.seconds += time.perf_counter() - began
        score, case_scores = _validated(config, state, data, context) if due else (None, [])
        at, save = tally.before + state.step, functools.partial(state.save, digest)
        whole = steps * config.mode.runs
        yield Progress(at, whole, score, case_scores, list(tally.history), save)


def _over(config: Config, state: Training) -> bool:
    """All steps are done, or the score has not improved for long; validated at least once."""
    tally, settings = state.tally, config.train
    tired = 0 < settings.patience <= tally.worse
    return tally.validations > 0 and (state.step >= settings.steps or tired)


def _validate_whole(
    config: Config, state: Training, data: Prepared, context: WorkerContext
) -> None:
    """The score of an ensemble is that of its mean."""
    began, tally = time.perf_counter(), state.tally
    tally.best_score = float(_validate(config, state.whole, data, context).mean())
    tally.best_step = tally.history[-1]["step"]
    tally.validate_seconds += time.perf_counter() - began


def _validated(
    config: Config, state: Training, data: Prepared, context: WorkerContext
) -> tuple[float, list[float]]:
    """Validate, and note what the steps since the last time were worth; the mean, and each case."""
    tally, began = state.tally, time.perf_counter()
    scores_NK = _validate(config, state.ema, data, context)
    score_sum, count = float(scores_NK.sum()), scores_NK.numel()
    case_scores: list[float] = scores_NK.mean(1).tolist()
    seconds = time.perf_counter() - began
    tally.train_seconds += tally.seconds
    tally.validate_seconds += seconds
    previous = tally.history[-1]["step"] if tally.history else 0
    at = tally.before + state.step
    tally.validations += 1
    tally.history.append(
        {
            "step": at,
            "loss_sum": tally.loss_sum if at > previous else None,
            "loss_count": (at - previous) * state.batch,
            "score_sum": score_sum,
            "score_count": count,
            "case_scores": case_scores,
            "seconds": tally.seconds + seconds,
        }
    )
    tally.loss_sum, tally.seconds = 0.0, 0.0
    score = score_sum / count
    if score > tally.best_score or state.last_counts:
        tally.best_score, tally.best_step, tally.worse = score, at, 0
        state.best.load_state_dict(state.ema.state_dict())
    else:
        tally.worse += 1
    return score, case_scores


def _validate(config: Config, network: Network, data: Prepared, context: WorkerContext) -> Tensor:
    """Dice of every validation case and foreground class, on all workers: float64 [N, K]."""
    return context.all_reduce_sum(
        together(context, lambda: evaluate.score(config, network, data.val, context))
    )


def _settle(config: Config, context: WorkerContext) -> None:
    """Single precision that is single, and kernels that give the same bits each time."""
    if context.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    if config.train.compile:
        torch.compiler.reset()  # a reused process would run out of compiled versions


def _check(config: Config, data: Prepared, context: WorkerContext) -> None:
    """What a Config alone cannot know: the workers, and how many cases there are."""
    require(
        config.train.accumulate == 1
        or config.train.batch % (config.train.accumulate * context.world) == 0,
        f"train.batch={config.train.batch} must be a multiple of accumulate="
        f"{config.train.accumulate} times {context.world} workers",
    )
    if "shuffled_image" in (config.train.control, *config.test.controls):
        controls.partner(0, min(len(data.val), len(data.test)))  # raises where there is none

"""The training loop: plain PyTorch, no cluster; yields its progress and returns what it measured.

Every draw depends on the seed and the step alone, so a run resumed from a checkpoint, or shared by
more workers, goes through the same numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables import controls, evaluate, pictures, probe, temperature
from trainables.config import Config
from trainables.data import Prepared, prepared, tiles
from trainables.evaluate import Rows, autocast
from trainables.layers.batchnorm import BatchNorm2d
from trainables.models import Network, multiply_adds
from trainables.modes import Batch
from trainables.part import require
from trainables.place import Place
from trainables.record import DivergedError
from trainables.state import LAYOUT, State, Tally

Row = dict[str, Any]
T = TypeVar("T")

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
    """What it runs on (:func:`trainables.machine.ran_on`); the attempt says it."""


@dataclass(frozen=True)
class Measured:
    """What a finished run leaves, complete on rank 0.

    ``further_seconds`` are those of validation cases, controls and pictures after the test.
    """

    tally: Tally
    rows: Rows
    probes: list[Row]
    split: int
    parameters: int
    macs_per_pass: int
    probe_passes: int
    test_images: int
    test_seconds: float
    probe_seconds: float
    further_seconds: float


def train(
    config: Config, place: Place, resume: bytes | None = None
) -> Generator[Progress, None, Measured]:
    """Train one config on this worker, in step with the others; the result is the same on all.

    Raises:
        DivergedError: a NaN or inf, with its step.
        ValueError: ``resume`` is not a checkpoint of this config; the batch cannot be shared by so
            many workers; a control needs a second case; the data are not as their set promises.
    """
    digest = config.digest()
    _settle(config, place)
    data = prepared(config)
    _check(config, data, place)
    state = State(config, data, place)
    if any(isinstance(m, BatchNorm2d) for m in state.network.modules()):
        place = dataclasses.replace(place, split=1)  # parts would have other statistics
    if resume is not None:
        state.load(resume, digest)
    learner = learner_of(config, state.network, place)

    steps, every, tally = config.train.steps, config.train.validate_every, state.tally
    while not _over(config, state):
        began = time.perf_counter()
        due = state.step >= steps
        while not due:
            tally.loss_sum += float(step(config, state, learner, data, place))
            due = state.step >= steps or state.step % every == 0
            if time.perf_counter() > began + BEAT_SECONDS:
                break
        tally.seconds += time.perf_counter() - began
        score, case_scores = _validated(config, state, data, place) if due else (None, [])
        save = functools.partial(state.save, digest)
        yield Progress(state.step, steps, score, case_scores, list(tally.history), save)
    return _test(config, state, data, place)


def _over(config: Config, state: State) -> bool:
    """All steps are done, or the score has not improved for long; validated at least once."""
    tally, settings = state.tally, config.train
    tired = 0 < settings.patience <= tally.worse
    return bool(tally.history) and (state.step >= settings.steps or tired)


def _validated(
    config: Config, state: State, data: Prepared, place: Place
) -> tuple[float, list[float]]:
    """Validate, and note what the steps since the last time were worth; the mean, and each case."""
    tally, began = state.tally, time.perf_counter()
    scores_NK = _validate(config, state, data, place)
    score_sum, count = float(scores_NK.sum()), scores_NK.numel()
    case_scores: list[float] = scores_NK.mean(1).tolist()
    seconds = time.perf_counter() - began
    tally.train_seconds += tally.seconds
    tally.validate_seconds += seconds
    previous = tally.history[-1]["step"] if tally.history else 0
    tally.history.append(
        {
            "step": state.step,
            "loss_sum": tally.loss_sum if state.step > previous else None,
            "loss_count": (state.step - previous) * config.train.batch,
            "score_sum": score_sum,
            "score_count": count,
            "case_scores": case_scores,
            "seconds": tally.seconds + seconds,
        }
    )
    tally.loss_sum, tally.seconds = 0.0, 0.0
    score = score_sum / count
    if score > tally.best_score:
        tally.best_score, tally.best_step, tally.worse = score, state.step, 0
        state.best.load_state_dict(state.ema.state_dict())
    else:
        tally.worse += 1
    return score, case_scores


def learner_of(config: Config, network: Network, place: Place) -> nn.Module:
    """The network as it is trained: compiled where asked for, shared by the workers."""
    learner: nn.Module = network
    if config.train.compile:
        learner = cast("nn.Module", torch.compile(network, dynamic=False))
    if place.world > 1 and config.model.learns:
        learner = DistributedDataParallel(learner)
    return learner


def step(config: Config, state: State, learner: nn.Module, data: Prepared, place: Place) -> Tensor:
    """One optimiser step on the global batch; returns the sum of its case losses, float64 [1]."""
    settings = config.train
    place.beat()
    learner.train()
    state.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros(1, dtype=torch.float64)
    batch = data.batch(config, state.step, place).to(place.device)
    parts = batch.chunks(settings.accumulate * place.split)
    for i, part in enumerate(parts):
        waits = contextlib.nullcontext()
        if isinstance(learner, DistributedDataParallel) and i + 1 < len(parts):
            waits = learner.no_sync()  # gradients are shared once, with the last part
        with waits:
            loss += _backward(config, state, learner, part, place)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    total = place.total(loss)
    for what, value in (("loss", float(total)), ("gradient norm", float(norm))):
        if value - value != 0.0:
            raise DivergedError(f"{what} is {value} at step {state.step} of {settings.steps}")
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate(state.step) * group.get("rate", 1.0)
    state.optimizer.step()
    _average(state, min(settings.ema, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return total


def _backward(
    config: Config, state: State, learner: nn.Module, batch: Batch, place: Place
) -> Tensor:
    """Add the gradient of a part of the batch; returns the sum of its case losses."""
    images = batch.images_BCHW
    if batch.other_images_BCHW is not None:
        images = controls.image(config.train.control, images, batch.other_images_BCHW)
    batch = batch._replace(images_BCHW=images.contiguous(memory_format=LAYOUT))
    state.network.seed(batch.seeds_B)
    with autocast(config, place):
        losses = config.mode.losses(
            cast("Network", learner), batch, config.classes, config.train.control
        )
    # DDP averages gradients over workers: the factor makes that the mean over the global batch.
    (losses.sum() * (place.world / config.train.batch)).backward()
    return losses.detach().sum().double().cpu()[None]


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Move the averaged weights towards the trained ones; buffers are copied."""
    means, weights = tuple(state.ema.parameters()), tuple(state.network.parameters())
    get_ema_multi_avg_fn(decay)(means, weights, 0)
    for mean, value in zip(state.ema.buffers(), state.network.buffers(), strict=True):
        mean.copy_(value)


def _validate(config: Config, state: State, data: Prepared, place: Place) -> Tensor:
    """Dice of every validation case and foreground class, on all workers: float64 [N, K]."""
    return place.total(_together(place, lambda: evaluate.score(config, state.ema, data.val, place)))


def _test(config: Config, state: State, data: Prepared, place: Place) -> Measured:
    """Evaluate the best weights once on the test cases, and on validation for later fits."""
    began = time.perf_counter()
    best = state.best
    test = _together(place, lambda: evaluate.measure(config, best, data.test, "test", place))
    tested = time.perf_counter()
    val = _together(place, lambda: evaluate.measure(config, best, data.val, "val", place))
    others = _together(place, lambda: evaluate.measure_controls(config, best, data.test, place))
    scaled = _scaled(config, best, data, place)
    shown = _together(place, lambda: pictures.measure(config, best, data.test, place))
    probing = time.perf_counter()
    probes = probe.measure(config, best, data.test, place)
    probed = time.perf_counter()
    read = (test, val, others, scaled, shown)
    all_rows = {
        f.name: [row for rows in read for row in getattr(rows, f.name)]
        for f in dataclasses.fields(Rows)
    }
    return Measured(
        tally=state.tally,
        rows=Rows(**{name: place.gather(rows) for name, rows in all_rows.items()}),
        probes=place.gather(probes),
        split=place.split,
        parameters=sum(p.numel() for p in state.network.parameters()),
        macs_per_pass=multiply_adds(state.network, config.ports, config.task.size),
        probe_passes=probe.passes(config, len(tiles(data.test, data.size))),
        test_images=len(data.test),
        test_seconds=tested - began,
        probe_seconds=probed - probing,
        further_seconds=probing - tested,
    )


def _scaled(config: Config, best: Network, data: Prepared, place: Place) -> Rows:
    """The test cases at the temperature of the validation cases, where that is asked for."""
    if "temperature" not in config.test.controls:
        return Rows()
    seen = _together(place, lambda: evaluate.seen(config, best, data.val, place))
    by = temperature.fitted(seen, place.total)
    return _together(place, lambda: evaluate.measure_scaled(config, best, data.test, place, by))


def _settle(config: Config, place: Place) -> None:
    """Single precision that is single, and kernels that give the same bits each time."""
    if place.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    if config.train.compile:
        torch.compiler.reset()  # a reused process would run out of compiled versions


def _check(config: Config, data: Prepared, place: Place) -> None:
    """What a Config alone cannot know: the workers, and how many cases there are."""
    require(
        config.train.accumulate == 1
        or config.train.batch % (config.train.accumulate * place.world) == 0,
        f"train.batch={config.train.batch} must be a multiple of accumulate="
        f"{config.train.accumulate} times {place.world} workers",
    )
    if "shuffled_image" in (config.train.control, *config.test.controls):
        controls.partner(0, min(len(data.val), len(data.test)))  # raises where there is none


def _together(place: Place, work: Callable[[], T]) -> T:
    """What diverges on one worker is raised on all, so that none is left waiting."""
    error, done = None, None
    try:
        done = work()
    except DivergedError as diverged:
        error = diverged
    if float(place.total(torch.tensor([float(error is not None)]))) > 0:
        raise error or DivergedError("a prediction of another worker is not finite")
    return cast("T", done)

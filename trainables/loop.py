"""The training loop: plain PyTorch, no cluster; yields its progress and returns what it measured.

Every draw depends on the seed and the step alone, so a run resumed from a checkpoint, or shared by
more workers, goes through the same numbers.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainables import evaluate, probe
from trainables.config import Config
from trainables.data import Prepared, prepare
from trainables.draws import generator
from trainables.models import Network
from trainables.place import Place
from trainables.record import DivergedError

Row = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Sent at every validation; ``state`` is a checkpoint to resume from, on rank 0 only."""

    step: int
    steps: int
    score: float
    history: list[Row]
    """Rows of the ``steps`` table so far."""
    state: bytes | None


@dataclass
class Tally:
    """What a run accumulates besides weights; part of its checkpoint."""

    history: list[Row] = field(default_factory=list[Row])
    best_step: int = 0
    best_score: float = -1.0
    train_seconds: float = 0.0
    validate_seconds: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What a finished run leaves, complete on rank 0."""

    tally: Tally
    cases: list[Row]
    calibration: list[Row]
    probes: list[Row]
    parameters: int
    macs_per_pass: int
    test_seconds: float
    probe_seconds: float


def on(network: Network, device: str) -> Network:
    """The network on a device with channels last, which CPU and GPU convolutions prefer."""
    moved: Any = network
    return moved.to(device, memory_format=torch.channels_last)


class State:
    """Everything that changes while training."""

    def __init__(self, config: Config, data: Prepared, place: Place) -> None:
        torch.manual_seed(generator(config.seed, "weights").initial_seed())
        network = config.model.build(
            config.task.channels, config.mask_channels, config.mask_channels
        )
        network.fit(*data.training_tiles())
        self.network = on(network, place.device)
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.best = copy.deepcopy(self.ema)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters() if config.model.learns else [torch.zeros(1)],
            lr=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
            foreach=True,
        )
        self.step = 0
        self.tally = Tally()

    def save(self, digest: str) -> bytes:
        """A checkpoint: tensors and JSON only."""
        buffer = io.BytesIO()
        parts = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        about = {"digest": digest, "step": self.step, "tally": dataclasses.asdict(self.tally)}
        torch.save({**parts, "about": json.dumps(about)}, buffer)
        return buffer.getvalue()

    def load(self, checkpoint: bytes, digest: str) -> None:
        """Continue from a checkpoint of the same config.

        Raises:
            ValueError: the checkpoint belongs to another config.
        """
        parts, about = read_checkpoint(checkpoint)
        if about["digest"] != digest:
            raise ValueError(f"checkpoint of {about['digest']} cannot resume {digest}")
        for name in ("network", "ema", "best", "optimizer"):
            getattr(self, name).load_state_dict(parts[name])
        self.step, self.tally = about["step"], Tally(**about["tally"])


def read_checkpoint(checkpoint: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dicts, and the JSON beside them (``digest``, ``step``, ``tally``).

    Raises:
        ValueError: the bytes are truncated or not a checkpoint; nothing but tensors is unpickled.
    """
    try:
        parts = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        return parts, json.loads(parts["about"])
    except Exception as error:
        raise ValueError(f"not a readable checkpoint ({len(checkpoint)} bytes): {error}") from None


def train(
    config: Config, place: Place, resume: bytes | None = None
) -> Generator[Progress, None, Measured]:
    """Train one config on this worker, in step with the others; the result is the same on all.

    Raises:
        DivergedError: a NaN or inf, with its step.
        ValueError: ``resume`` is not a checkpoint of this config.
    """
    digest = config.digest()
    data = prepare(config.task)
    state = State(config, data, place)
    if resume is not None:
        state.load(resume, digest)
    learner: nn.Module = state.network
    if place.world > 1 and config.model.learns:
        learner = DistributedDataParallel(learner)

    loss_sum, began = torch.zeros(1, dtype=torch.float64), time.perf_counter()
    steps, every = config.train.steps, config.train.validate_every
    while state.step < steps or not state.tally.history:
        if state.step < steps:
            loss_sum += _step(config, state, learner, data, place)
        if state.step < steps and state.step % every != 0:
            continue
        trained = time.perf_counter()
        score_sum, count = _validate(config, state, data, place)
        tally, now = state.tally, time.perf_counter()
        tally.train_seconds += trained - began
        tally.validate_seconds += now - trained
        previous = tally.history[-1]["step"] if tally.history else 0
        tally.history.append(
            {
                "step": state.step,
                "loss_sum": float(loss_sum) if state.step > previous else None,
                "loss_count": (state.step - previous) * config.train.batch,
                "score_sum": score_sum,
                "score_count": count,
                "seconds": now - began,
            }
        )
        if score_sum / count > tally.best_score:
            tally.best_score, tally.best_step = score_sum / count, state.step
            state.best.load_state_dict(state.ema.state_dict())
        saved = state.save(digest) if place.rank == 0 else None
        yield Progress(state.step, steps, score_sum / count, list(tally.history), saved)
        loss_sum, began = torch.zeros(1, dtype=torch.float64), time.perf_counter()
    return _test(config, state, data, place)


def _step(config: Config, state: State, learner: nn.Module, data: Prepared, place: Place) -> Tensor:
    """One optimiser step on the global batch; returns the sum of its case losses, float64 [1]."""
    settings = config.train
    learner.train()
    batch = data.batch(
        config.seed, state.step, settings.batch, settings.flips, place.rank, place.world
    ).to(place.device)
    losses = config.mode.loss(cast("Network", learner), batch)
    # DDP averages gradients over workers: the factor makes that the mean over the global batch.
    state.optimizer.zero_grad(set_to_none=True)
    (losses.sum() * (place.world / settings.batch)).backward()
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    total = place.total(losses.detach().sum().double().cpu()[None])
    for what, value in (("loss", float(total)), ("gradient norm", float(norm))):
        if value - value != 0.0:
            raise DivergedError(f"{what} is {value} at step {state.step} of {settings.steps}")
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate(state.step)
    state.optimizer.step()
    decay = min(settings.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for mean, weight in zip(state.ema.parameters(), state.network.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for mean, value in zip(state.ema.buffers(), state.network.buffers(), strict=True):
            mean.copy_(value)
    state.step += 1
    return total


def _validate(config: Config, state: State, data: Prepared, place: Place) -> tuple[float, int]:
    """Σ of Dice over validation tiles and foreground classes, and how many there are."""
    share = data.val[place.rank :: place.world]
    cases, _ = evaluate.measure(config, state.ema, share, "val", place.device)
    dice = [_dice(row) for row in cases]
    total = place.total(torch.tensor([sum(dice), len(dice)], dtype=torch.float64))
    return float(total[0]), int(total[1])


def _dice(row: Row) -> float:
    """Dice of one row of counts; an empty prediction of an empty mask counts as 1."""
    size = 2 * row["tp"] + row["fp"] + row["fn"]
    return 2 * row["tp"] / size if size else 1.0


def _test(config: Config, state: State, data: Prepared, place: Place) -> Measured:
    """Evaluate the best weights once on the test tiles, and on validation for later fits."""
    began = time.perf_counter()
    cases, calibration = evaluate.measure(
        config, state.best, data.test[place.rank :: place.world], "test", place.device
    )
    tested = time.perf_counter()
    val_cases, val_calibration = evaluate.measure(
        config, state.best, data.val[place.rank :: place.world], "val", place.device
    )
    probing = time.perf_counter()
    probes = probe.measure(config, state.best, data.test[place.rank :: place.world], place.device)
    probed = time.perf_counter()
    return Measured(
        tally=state.tally,
        cases=place.gather(cases + val_cases),
        calibration=place.gather(calibration + val_calibration),
        probes=place.gather(probes),
        parameters=sum(p.numel() for p in state.network.parameters()),
        macs_per_pass=multiply_adds(config, state.network),
        test_seconds=tested - began,
        probe_seconds=probed - probing,
    )


@torch.no_grad()
def multiply_adds(config: Config, network: Network) -> int:
    """Multiply-adds of one network pass on one tile."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(iter([*network.parameters(), *network.buffers()])).device
    side = config.task.size
    with FlopCounterMode(display=False) as counter:
        network(
            torch.zeros(1, config.mask_channels, side, side, device=device),
            torch.zeros(1, device=device),
            torch.zeros(1, config.task.channels, side, side, device=device),
        )
    return counter.get_total_flops() // 2

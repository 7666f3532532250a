"""One optimiser step of a network on the global batch, the same at any number of workers."""

from __future__ import annotations

import contextlib
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables import controls
from trainables.config import Config
from trainables.data import Prepared
from trainables.evaluation.evaluate import autocast
from trainables.models import Network
from trainables.modes import Batch
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError
from trainables.training.state import LAYOUT, State


def learner_of(config: Config, network: Network, context: WorkerContext) -> nn.Module:
    """The network as it is trained: compiled where asked for, shared by the workers."""
    learner: nn.Module = network
    if config.train.compile:
        learner = cast("nn.Module", torch.compile(network, dynamic=False))
    if context.world > 1 and config.model.learns:
        learner = DistributedDataParallel(learner)
    return learner


def step(
    config: Config, state: State, learner: nn.Module, data: Prepared, context: WorkerContext
) -> Tensor:
    """One optimiser step on the global batch; returns the sum of its case losses, float64 [1]."""
    settings = config.train
    context.beat()
    learner.train()
    state.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros(1, dtype=torch.float64)
    batch = data.batch(config, state.step, context).to(context.device)
    parts = batch.chunks(settings.accumulate * context.microbatch_factor)
    for i, part in enumerate(parts):
        waits = contextlib.nullcontext()
        if isinstance(learner, DistributedDataParallel) and i + 1 < len(parts):
            waits = learner.no_sync()  # gradients are shared once, with the last part
        with waits:
            loss += _backward(config, state, learner, part, context)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    total = context.all_reduce_sum(loss)
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
    config: Config, state: State, learner: nn.Module, batch: Batch, context: WorkerContext
) -> Tensor:
    """Add the gradient of a part of the batch; returns the sum of its case losses."""
    images = batch.images_BCHW
    if batch.other_images_BCHW is not None:
        images = controls.image(config.train.control, images, batch.other_images_BCHW)
    batch = batch._replace(images_BCHW=images.contiguous(memory_format=LAYOUT))
    state.network.seed(batch.seeds_B)
    with autocast(config, context):
        losses = config.mode.losses(
            cast("Network", learner), batch, config.classes, config.train.control
        )
    # DDP averages gradients over workers: the factor makes that the mean over the global batch.
    (losses.sum() * (context.world / config.train.batch)).backward()
    return losses.detach().sum().double().cpu()[None]


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Move the averaged weights towards the trained ones; buffers are copied."""
    means, weights = tuple(state.ema.parameters()), tuple(state.network.parameters())
    get_ema_multi_avg_fn(decay)(means, weights, 0)
    for mean, value in zip(state.ema.buffers(), state.network.buffers(), strict=True):
        mean.copy_(value)

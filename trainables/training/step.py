"""One optimiser step on the global batch, the same at any number of workers."""

from __future__ import annotations

import contextlib
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables import batches, controls
from trainables.evaluation.predict import autocast
from trainables.models import Network
from trainables.modes import Batch
from trainables.run import Run
from trainables.schemas import DivergedError
from trainables.training.state import LAYOUT, State


def learner_of(run: Run, network: Network) -> nn.Module:
    """Return the module that is trained: compiled if configured, wrapped for several workers."""
    learner: nn.Module = network
    if run.config.train.compile:
        compiled = torch.compile(network, dynamic=False)  # pyright: ignore[reportUnknownMemberType]
        learner = cast("nn.Module", compiled)
    if run.context.world > 1 and run.config.model.learns:
        learner = DistributedDataParallel(learner)
    return learner


def step(state: State, learner: nn.Module) -> Tensor:
    """Make one optimiser step; return the sum of case losses in the global batch, float64 [1]."""
    settings, context = state.run.config.train, state.run.context
    context.beat()
    learner.train()
    state.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros(1, dtype=torch.float64)
    batch = batches.draw(state.run, state.step).to(context.device)
    microbatches = batch.chunks(settings.accumulate * context.microbatch_factor)
    for i, microbatch in enumerate(microbatches):
        synchronisation = contextlib.nullcontext()
        if isinstance(learner, DistributedDataParallel) and i + 1 < len(microbatches):
            synchronisation = learner.no_sync()  # gradients are averaged once, with the last one
        with synchronisation:
            loss += _backward(state, learner, microbatch)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    loss_sum = context.all_reduce_sum(loss)
    for what, value in (("loss", float(loss_sum)), ("gradient norm", float(norm))):
        if value - value != 0.0:
            raise DivergedError(f"{what} is {value} at step {state.step} of {settings.steps}")
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate(state.step) * group.get("rate", 1.0)
    state.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    _update_ema(state, min(settings.ema, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return loss_sum


def _backward(state: State, learner: nn.Module, batch: Batch) -> Tensor:
    """Add the gradient of a microbatch; return the sum of its case losses, float64 [1]."""
    config, context = state.run.config, state.run.context
    images = batch.images_BCHW
    if batch.other_images_BCHW is not None:
        images = controls.image(config.train.control, images, batch.other_images_BCHW)
    batch = batch._replace(images_BCHW=images.contiguous(memory_format=LAYOUT))
    state.network.seed(batch.seeds_B)
    with autocast(state.run):
        losses = config.mode.losses(
            cast("Network", learner), batch, config.classes, config.train.control
        )
    # DDP averages gradients over workers: the factor makes that the mean over the global batch.
    loss = losses.sum() * (context.world / config.train.batch)
    loss.backward()  # pyright: ignore[reportUnknownMemberType] - torch does not annotate it
    return losses.detach().sum().double().cpu()[None]


@torch.no_grad()
def _update_ema(state: State, decay: float) -> None:
    """Move the averaged weights towards the trained ones, and copy the buffers."""
    means, weights = tuple(state.ema.parameters()), tuple(state.network.parameters())
    get_ema_multi_avg_fn(decay)(means, weights, 0)
    for mean, value in zip(state.ema.buffers(), state.network.buffers(), strict=True):
        mean.copy_(value)

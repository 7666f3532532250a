"""One optimiser step on the global batch, the same at any number of workers."""

from __future__ import annotations

import contextlib
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables import controls
from trainables.evaluation.predict import autocast
from trainables.models import Network
from trainables.modes import Batch
from trainables.run import Run
from trainables.schemas import DivergedError
from trainables.training.batch_queue import BatchQueue
from trainables.training.state import LAYOUT, State


def learner_of(run: Run, network: Network) -> nn.Module:
    """Return the module that is trained: compiled if configured, wrapped for several workers."""
    learner: nn.Module = network
    if run.config.train.compile:
        compiled = torch.compile(network, dynamic=False)  # pyright: ignore[reportUnknownMemberType]
        learner = cast("nn.Module", compiled)
    if run.context.world > 1 and run.config.model.learns:
        # Gradients lie in the buckets that are summed, which saves a copy of the weights.
        learner = DistributedDataParallel(learner, gradient_as_bucket_view=True)
    return learner


class StepResult(NamedTuple):
    """The outcome of a step, on the device that may still be at work on it."""

    step: int
    loss_sum: Tensor
    """The sum of case losses in the global batch, float64 [1]."""
    norm: Tensor
    """The norm of the gradient before it was clipped."""

    def read(self, steps: int) -> float:
        """Return the sum of case losses, once the device has computed it.

        Raises:
            DivergedError: the loss or the norm is not finite; names the step, of ``steps``.
        """
        loss_sum = float(self.loss_sum)
        for what, value in (("loss", loss_sum), ("gradient norm", float(self.norm))):
            if value - value != 0.0:
                raise DivergedError(f"{what} is {value} at step {self.step} of {steps}")
        return loss_sum


class Stepper:
    """Makes the steps of one network; reads each result while the device makes the next step.

    So the device does not wait for the host in a step, and a divergence is noticed one step late.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._learner = learner_of(state.run, state.network)
        self._batches = BatchQueue(state.run)
        self._unread: StepResult | None = None

    def advance(self) -> float:
        """Make one step; return the sum of case losses of the step before, 0 if it is read.

        Raises:
            DivergedError: the step before had a NaN or inf.
        """
        batch = self._batches.take(self._state.step)
        previous, self._unread = self._unread, step(self._state, self._learner, batch)
        return self._read(previous)

    def finish(self) -> float:
        """Return the sum of case losses of the last step, once it is computed; 0 if it is read.

        Raises:
            DivergedError: it had a NaN or inf.
        """
        previous, self._unread = self._unread, None
        return self._read(previous)

    def close(self) -> None:
        """End the preparation of batches."""
        self._batches.close()

    def _read(self, result: StepResult | None) -> float:
        return 0.0 if result is None else result.read(self._state.run.config.train.steps)


def step(state: State, learner: nn.Module, batch: Batch) -> StepResult:
    """Make one optimiser step on this worker's share of the batch, which is on its device."""
    settings, context = state.run.config.train, state.run.context
    context.beat()
    learner.train()
    state.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros(1, dtype=torch.float64, device=context.device)
    if state.times is not None:
        batch = state.times.placed(batch, state.step)
    microbatches = batch.chunks(settings.accumulate * context.microbatch_factor)
    for i, microbatch in enumerate(microbatches):
        synchronisation = contextlib.nullcontext()
        if isinstance(learner, DistributedDataParallel) and i + 1 < len(microbatches):
            synchronisation = learner.no_sync()  # gradients are averaged once, with the last one
        with synchronisation:
            loss += _backward(state, learner, microbatch)
    if state.times is not None:
        state.times.update(context)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    result = StepResult(state.step, context.all_reduce_sum(loss), norm)
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate(state.step) * group.get("rate", 1.0)
    state.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    _update_ema(state, min(settings.ema, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return result


def _backward(state: State, learner: nn.Module, batch: Batch) -> Tensor:
    """Add the gradient of a microbatch; return the sum of its case losses, float64 [1]."""
    config, context = state.run.config, state.run.context
    images = batch.images_BCHW
    if batch.other_images_BCHW is not None:
        images = controls.image(config.train.control, images, batch.other_images_BCHW)
    batch = batch._replace(images_BCHW=images.contiguous(memory_format=LAYOUT))
    state.network.seed(batch.seeds_B)
    losses_of = config.mode.losses if state.times is None else state.times.losses
    with autocast(state.run):
        losses = losses_of(cast("Network", learner), batch, config.classes, config.train.control)
    # DDP averages gradients over workers: the factor makes that the mean over the global batch.
    loss = losses.sum() * (context.world / config.train.batch)
    loss.backward()  # pyright: ignore[reportUnknownMemberType] - torch does not annotate it
    return losses.detach().sum().double()[None]


@torch.no_grad()
def _update_ema(state: State, decay: float) -> None:
    """Move the averaged weights towards the trained ones, and copy the buffers."""
    means, weights = tuple(state.ema.parameters()), tuple(state.network.parameters())
    get_ema_multi_avg_fn(decay)(means, weights, 0)
    for mean, value in zip(state.ema.buffers(), state.network.buffers(), strict=True):
        mean.copy_(value)

"""The memory that a trial needs on a device, from a training step on tensors without data.

Torch's fake tensors have shapes but no data: the step needs neither memory nor arithmetic, and
autograd keeps for the backward pass what a real step keeps.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables import batches
from trainables.config import Config
from trainables.data import prepared, test_cases
from trainables.encodings.onehot import OneHot
from trainables.evaluation import predict
from trainables.layers.batchnorm import BatchNorm2d
from trainables.models import Ensemble, Model, Network, Ports
from trainables.modes import Batch
from trainables.modes.diffusion import Diffusion
from trainables.part import parts_in
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.samplers.ddim import DDIM
from trainables.training.state import LAYOUT

KEPT_PER_LAYER = 4
"""More tensors of a layer's largest size than a layer keeps for the backward pass."""
COPIES = 14
"""As many copies of the weights as a trial has at most."""
ATEN: Any = torch.ops.aten
LAYERS = {ATEN.convolution.default, ATEN.native_group_norm.default}
"""Their kernels on a CPU return channels last, as their weights are; the fake ones do not. The
layout decides which kernel of the attention is called."""
LAYOUT_DIMENSIONS = 4
"""Only tensors of images, [B, C, H, W], have this layout."""
BLOCK = 512
"""Bytes to which CUDA's allocator rounds up."""
COPIES_TRAINED = 5
"""Weights, averaged weights, two moments of the optimiser, gradients."""
COPIES_SAVED = 7
"""What a CPU also holds while weights are kept: a checkpoint (4) and the serialised weights (3)."""


class MemoryNeed(NamedTuple):
    """The most bytes that one worker of a trial holds on its device at once."""

    training: int
    """In a training step: weights, averaged weights, optimiser, gradients, activations."""
    evaluation: int
    """In the final test: the same without activations, the best weights, a batch of predictions."""
    saving: int
    """While weights and a checkpoint are written, on a CPU; a GPU's copies are on the host."""

    @property
    def most(self) -> int:
        return max(self)


class AllocationMeter(TorchDispatchMode):
    """Counts the bytes of the live tensors that operations within the context created."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.now = self.peak = 0
        self._counted = weakref.WeakSet[torch.UntypedStorage]()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in LAYERS and args[0].device.type == "cpu" and args[0].dim() == LAYOUT_DIMENSIONS:
            result = _channels_last(result)
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                self._count(x.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._counted:
            return
        self._counted.add(storage)
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size

    def peak_of(self, work: Callable[[], None]) -> int:
        """Return the most bytes that are alive while ``work`` runs."""
        self.peak = self.now
        work()
        return self.peak


def _channels_last(result: Any) -> Any:
    """Return the result of a layer with its first tensor in the layout of the convolutions."""
    if isinstance(result, Tensor):
        return result.contiguous(memory_format=LAYOUT)
    first, *others = result
    return (first.contiguous(memory_format=LAYOUT), *others)


_estimates: dict[object, MemoryNeed | None] = {}


def memory_need(
    config: Config, workers: int, device: str, *, split: bool = False
) -> MemoryNeed | None:
    """Estimate the memory of one of ``workers`` workers of a trial, once per kind of trial.

    ``split``: with each batch in as many parts as an out-of-memory error can lead to, one image
    each; a network that normalises over the batch is never split.

    Returns None where no step can be made here: the model is trained by a library or not by
    gradients; the config contains a user's own code, which may hang; or the step raises, so that
    the trial fails too, and its error is recorded.
    """
    model, train = config.model, config.train
    if model.trains_itself or not model.learns or any(part.file for part in parts_in(config)):
        return None
    sizes = (train.batch, train.accumulate, train.precision, train.control, train.steps > 0)
    key = (config.task, model, config.test, _of_mode(config), *sizes, workers, device, split)
    if key not in _estimates:
        try:
            _estimates[key] = _estimate(config, workers, device, split=split)
        except Exception:
            _estimates[key] = None
    return _estimates[key]


def _of_mode(config: Config) -> tuple[object, ...]:
    """Return what the memory depends on; a grid of schedules or samplers needs one estimate."""
    mode, probe = config.mode, config.probe
    if not isinstance(mode, Diffusion):
        return (mode,)
    loss = (mode.loss, mode.target, mode.evidence, mode.dice_weight > 0, mode.added_loss)
    return (*loss, mode.encoding, mode.members, mode.start, probe.bins * probe.draws)


def _estimate(config: Config, workers: int, device: str, *, split: bool) -> MemoryNeed:
    # A copy: parts may keep tables that they compute here, which have no data.
    config = _without_numpy(copy.deepcopy(config))
    # The operations of a CPU stand in for those of a GPU where there is none.
    fake_device = best_device() if device == "cuda" else device
    run = Run(config, WorkerContext(device=fake_device), prepared(config))
    drawn = batches.draw(dataclasses.replace(run, context=WorkerContext()), 0)
    share = -(-config.train.batch // workers)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, AllocationMeter() as meter:
        with torch.device(fake_device):
            networks = [config.model.build(config.ports) for _ in range(config.mode.runs)]
        network = networks[0]
        weights = sum(x.nbytes for x in network.state_dict().values())
        part = -(-share // config.train.accumulate)
        if split and not _normalises(network):
            part = 1
        first = (fake.from_tensor(x[:part]) if x is not None else None for x in drawn)
        batch = Batch(*cast("Any", first)).to(fake_device)
        if part < share:  # gradients of the first part are there while the next is computed
            _backward(run, network, batch)
        training = meter.peak_of(lambda: _backward(run, network, batch))
        images = 1 if split else images_at_once(config)
        evaluation = meter.peak_of(lambda: _predict(run, networks, images))
    best = weights
    if config.train.steps == 0:
        return MemoryNeed(0, evaluation + best, 0)
    kept = (COPIES_TRAINED - 2) * weights  # weights and gradients are measured
    saving = meter.now + kept + best + COPIES_SAVED * weights if device == "cpu" else 0
    return MemoryNeed(training + kept, evaluation + kept + best, saving)


def _backward(run: Run, network: Network, batch: Batch) -> None:
    """Add the gradients of a batch, as a training step does."""
    config = run.config
    network.train()
    network.seed(batch.seeds_B)
    images = batch.images_BCHW.contiguous(memory_format=LAYOUT)
    with predict.autocast(run):
        losses = config.trainings[0].mode.losses(
            network, batch._replace(images_BCHW=images), config.classes, config.train.control
        )
    losses.sum().backward()  # pyright: ignore[reportUnknownMemberType] - torch does not annotate it


def _predict(run: Run, networks: Sequence[Network], count: int) -> None:
    """Predict so many images at once, with one sampling step."""
    config, mode = run.config, run.config.mode
    if isinstance(mode, Diffusion):
        mode = dataclasses.replace(mode, sampler=DDIM(steps=1))
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    side = config.task.size
    images = torch.zeros(count, config.task.channels, side, side, device=run.context.device)
    with predict.inference(run, network):
        mode.predict(
            network, images.contiguous(memory_format=LAYOUT), config.classes, [0] * count, "none"
        )


def images_at_once(config: Config) -> int:
    """Return how many images share a pass of the test, of validations and of the probe."""
    patches = predict.patches(config, test_cases(config.task, config.test))
    at_once = min(patches, predict.patches_at_once(config))
    if not isinstance(config.mode, Diffusion):
        return at_once
    levels = min(
        config.probe.bins * config.probe.draws, predict.PIXELS_AT_ONCE // config.task.size**2
    )
    return max(1, at_once, levels // config.mode.ensemble)


def _normalises(network: Network) -> bool:
    return any(isinstance(module, BatchNorm2d) for module in network.modules())


def _without_numpy(config: Config) -> Config:
    """Replace an encoding that is computed on the host by one with the same channels."""
    mode = config.mode
    if not isinstance(mode, Diffusion) or mode.encoding.pixelwise:
        return config
    return dataclasses.replace(config, mode=dataclasses.replace(mode, encoding=OneHot()))


def surely_fits(config: Config, share: int) -> bool:
    """Whether a bound that is quick to compute, and far above the need, is below the share.

    It counts the largest possible output of every layer. A user's own code is not run for it.
    """
    mode = config.mode
    if config.model.trains_itself or any(part.file for part in parts_in(config)):
        return False
    try:
        shape = _shape(config.model, config.ports)
    except Exception:  # the trial fails too, and its error is recorded
        return False
    images = max(config.train.batch, images_at_once(config) * mode.ensemble)
    outputs = KEPT_PER_LAYER * shape.layers * shape.widest * images * config.task.size**2
    return 4 * (COPIES * mode.runs * shape.weights + outputs) < share


class _Shape(NamedTuple):
    layers: int
    widest: int
    """The most channels of a convolution."""
    weights: int


@functools.lru_cache(maxsize=256)
def _shape(model: Model, ports: Ports) -> _Shape:
    with torch.device("meta"):
        network = model.build(ports)
    layers = [module for module in network.modules() if not list(module.children())]
    widest = max((m.out_channels for m in layers if isinstance(m, nn.Conv2d)), default=1)
    return _Shape(len(layers), widest, sum(p.numel() for p in network.parameters()))

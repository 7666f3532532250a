"""Networks whose passes without gradients are compiled, where the config compiles training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from trainables.models import Ensemble, Features, ImagePredictor, Network, Output
from trainables.run import Run


def compiled(run: Run, network: Network) -> Network:
    """Return a network for evaluation, compiled if ``train.compile`` is set."""
    if not run.config.train.compile or isinstance(network, (ImagePredictor, CompiledNetwork)):
        return network
    if isinstance(network, Ensemble):
        return Ensemble([compiled(run, each) for each in network.networks])
    return CompiledNetwork(network)


class CompiledNetwork(Network):
    """A network with compiled passes and features; it runs as it is if that fails.

    The first number of images is compiled as a constant, and the second one for any number: the
    last batch of every set is smaller. Torch keeps the compiled code of a class of networks, so a
    new object compiles nothing anew. Inputs have one memory layout, because each layout is compiled
    on its own.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.patch = network, network.patch
        self._forward = _compile(network.forward)
        self._features = _compile(network.features)
        self._failed = False

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        kept = None if features is None else tuple(map(_contiguous, features))
        inputs = _contiguous(mask_BMHW), t_B.contiguous(), _contiguous(image_BCHW), kept
        return self._attempt(self._forward, self.network.forward, *inputs)

    def features(self, image_BCHW: Tensor) -> Features:
        return self._attempt(self._features, self.network.features, _contiguous(image_BCHW))

    def _attempt(self, call: Callable[..., Any], plain: Callable[..., Any], *inputs: Any) -> Any:
        if not self._failed:
            try:
                return call(*inputs)
            except RuntimeError as error:
                if not _of_the_compiler(error):
                    raise
                self._failed = True
                name, reason = type(self.network).__name__, " ".join(str(error).split())[:200]
                warnings.warn(f"{name} is evaluated without torch.compile: {reason}", stacklevel=3)
        return plain(*inputs)


def _of_the_compiler(error: RuntimeError) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # takes a second, and is loaded by now

    return isinstance(error, TorchDynamoException)


def _compile(call: Callable[..., Any]) -> Callable[..., Any]:
    return cast("Any", torch.compile(call))  # pyright: ignore[reportUnknownMemberType]


def _contiguous(x: Tensor) -> Tensor:
    """Return a tensor whose images lie one after another, in the layout of the convolutions."""
    images = x.dim() == 4
    return x.contiguous(memory_format=torch.channels_last if images else torch.contiguous_format)

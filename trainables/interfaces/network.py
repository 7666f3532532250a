"""The interface of networks: (noisy mask, time, image) to one output per mask channel."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from torch import Tensor, nn

Features = tuple[Tensor, ...]
"""Features that depend on the image alone, each [B, ...]."""


@dataclass(frozen=True)
class Ports:
    """The numbers of input and output channels of a network."""

    image: int
    mask: int
    """0 builds the image-only twin, without a mask channel and a time branch."""
    out: int
    classes: int = 1
    """Channels of the auxiliary output."""


class Output(NamedTuple):
    """The result of one pass."""

    main: Tensor
    """[B, out, H, W]."""
    auxiliary: Tensor | None = None
    """Class logits [B, classes, H, W] of a feed-forward branch that is trained alongside."""
    auxiliary_weight: float = 0.0
    """The weight in the loss of the mean squared error of the auxiliary probabilities."""


class SeededLayer(nn.Module):
    """A layer whose random draws depend on the case's seed and on its number in the network."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = 0
        self.seeds: Tensor | None = None
        """int64 [B], set before each training pass."""
        self.calls = 0
        """Calls since the seeds were set."""

    def seed(self, layer: int, seeds_B: Tensor) -> None:
        """Set the number of the layer and the seeds of the cases in the next pass."""
        self.layer, self.seeds, self.calls = layer, seeds_B, 0


class Network(nn.Module, abc.ABC):
    """A module that every model builds."""

    passes: int = 0
    """Passes made so far; counted only by networks that decide themselves how many they need."""
    patch: tuple[int, int] | None = None
    """Height and width of the input of a pass, where it is not a tile."""

    @abc.abstractmethod
    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        """Make one pass for a (noisy or zero) mask, its time in [0, 1], and the image.

        ``features`` are the image's :meth:`features` where the caller has computed them.
        """

    def features(self, image_BCHW: Tensor) -> Features:
        """Compute what depends on the image alone, once per image instead of once per step."""
        return ()

    def fit(self, images_BCHW: Tensor, labels_BHW: Tensor) -> None:
        """Run the closed-form part of training, if any: called once, before the first step.

        Labels may be :data:`~trainables.labels.IGNORE`, which is no class.
        """

    def seed(self, seeds_B: Tensor) -> None:
        """Seed the random draws of the next training pass with one int64 per case, [B]."""
        seed_layers(self, seeds_B)


def seed_layers(network: nn.Module, seeds_B: Tensor) -> None:
    """Seed every :class:`SeededLayer` of a network for the next training pass, int64 [B]."""
    layers = (module for module in network.modules() if isinstance(module, SeededLayer))
    for number, layer in enumerate(layers):
        layer.seed(number, seeds_B)


class Ensemble(Network):
    """Networks that differ in their seed only; a mode predicts with each of them."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = cast("Sequence[Network]", nn.ModuleList(networks))

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        """Make one pass of the first network."""
        return self.networks[0](mask_BMHW, t_B, image_BCHW, features)


class ImagePredictor(Network):
    """A network whose library predicts whole images with its own inference."""

    @abc.abstractmethod
    def predict_image(self, pixels_CHW: Tensor, overlap: float) -> Tensor:
        """Return the class probabilities, [1 or K, H, W], of an image with its stored values.

        ``overlap`` is the share of its side that a patch has in common with the next one.
        """

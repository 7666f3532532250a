"""Modes: what is asked of a network, one file each; the twins of a fair comparison."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from trainables.controls import Control
from trainables.models import Network, Ports
from trainables.part import Part


class Batch(NamedTuple):
    """What one training step sees; the draws are seeded per step and independent of world size."""

    images_BCHW: Tensor
    labels_BHW: Tensor
    """uint8, 0..K−1."""
    uniform_B: Tensor
    """Uniform in [0, 1), stratified over the global batch: where in time each case is."""
    drop_B: Tensor
    """Uniform in [0, 1): decides image dropout."""
    twin_B: Tensor
    """Uniform in [0, 1): decides which cases are trained feed-forward."""
    seeds_B: Tensor
    """int64: decides the draws inside the network."""
    noise_BMHW: Tensor
    """Standard normal, one channel per channel of the encoded mask."""
    other_images_BCHW: Tensor | None = None
    """Another case for each, where a control needs it."""
    other_labels_BHW: Tensor | None = None
    other_noise_BMHW: Tensor | None = None
    """Standard normal, independent of the batch's own."""

    def to(self, device: str) -> Batch:
        """The same batch on a device."""
        return Batch(*(None if x is None else x.to(device) for x in self))  # pyright: ignore[reportArgumentType]

    def chunks(self, count: int) -> list[Batch]:
        """The batch in at most ``count`` parts, in order."""
        size = -(-len(self.seeds_B) // count)
        return [
            Batch(*(None if x is None else x[first : first + size] for x in self))  # pyright: ignore[reportArgumentType]
            for first in range(0, len(self.seeds_B), size)
        ]


class Prediction(NamedTuple):
    """What is read of a network for a batch of images."""

    members: Tensor
    """Class probabilities of each member of the ensemble: [B, N, 1 or K, H, W]."""
    auxiliary: Tensor | None
    """Class probabilities of the auxiliary output: [B, 1 or K, H, W]."""


class Mode(Part):
    """How a network is trained and read."""

    kind: ClassVar[str] = "modes"
    denoises: ClassVar[bool] = False
    """Whether the network sees a noisy mask."""

    @property
    def runs(self) -> int:
        """Networks that are trained, one after another, and read together."""
        return 1

    @property
    @abc.abstractmethod
    def passes(self) -> int:
        """Network passes per image at test."""

    @property
    @abc.abstractmethod
    def ensemble(self) -> int:
        """Members whose mean is the sample."""

    @abc.abstractmethod
    def ports(self, image_channels: int, classes: int) -> Ports:
        """The channels of the network it needs, for so many classes (background included)."""

    @abc.abstractmethod
    def losses(self, network: Network, batch: Batch, classes: int, control: Control) -> Tensor:
        """The loss of each case, [B]."""

    @abc.abstractmethod
    def predict(
        self,
        network: Network,
        images_BCHW: Tensor,
        classes: int,
        seeds: Sequence[int],
        control: Control,
    ) -> Prediction:
        """``seeds`` (one per case) decide all random draws.

        Of the controls only those of the mask matter here, and only where one is seen: whoever
        calls has replaced the image already.
        """

"""Modes: what is asked of a network, one file each; the twins of a fair comparison."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainables.models import Network
from trainables.part import Part


@dataclass(frozen=True)
class Batch:
    """What one training step sees; the draws are seeded per step and independent of world size."""

    images_BCHW: Tensor
    masks_BMHW: Tensor
    """{0, 1} channels."""
    uniform_B: Tensor
    """Uniform in [0, 1), stratified over the global batch: where in time each case is."""
    drop_B: Tensor
    """Uniform in [0, 1): decides image dropout."""
    noise_BMHW: Tensor
    """Standard normal."""

    def to(self, device: str) -> Batch:
        """The same batch on a device, images with channels last."""
        return Batch(
            self.images_BCHW.to(device, memory_format=torch.channels_last),
            self.masks_BMHW.to(device, memory_format=torch.channels_last),
            self.uniform_B.to(device),
            self.drop_B.to(device),
            self.noise_BMHW.to(device, memory_format=torch.channels_last),
        )


class Mode(Part):
    """How a network is trained and read."""

    kind: ClassVar[str] = "modes"

    @property
    @abc.abstractmethod
    def passes(self) -> int:
        """Network passes per image at test."""

    @abc.abstractmethod
    def loss(self, network: Network, batch: Batch) -> Tensor:
        """The loss of each case, [B]."""

    @abc.abstractmethod
    def predict(
        self, network: Network, images_BCHW: Tensor, mask_channels: int, seeds: Sequence[int]
    ) -> Tensor:
        """Probabilities [B, M, H, W]; ``seeds`` (one per case) decide all random draws."""

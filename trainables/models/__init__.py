"""Networks, one file each: (noisy mask, time, image) to one output per mask channel."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor, nn

from trainables.part import Part


class Network(nn.Module, abc.ABC):
    """What every architecture builds."""

    @abc.abstractmethod
    def forward(self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor) -> Tensor:
        """Output [B, out, H, W] for a (noisy, or zero) mask, its time in [0, 1], the image."""

    def fit(self, images_BCHW: Tensor, labels_BHW: Tensor) -> None:
        """The closed-form part of training, if any: called once, before the first step."""


class Model(Part):
    """The numbers of an architecture."""

    kind: ClassVar[str] = "models"

    @property
    @abc.abstractmethod
    def stride(self) -> int:
        """Height and width must be multiples of this."""

    @property
    def learns(self) -> bool:
        """Whether the network has anything for gradient steps to change."""
        return True

    @abc.abstractmethod
    def build(self, image_channels: int, mask_channels: int, out_channels: int) -> Network:
        """A freshly initialised network, drawn from torch's global generator."""

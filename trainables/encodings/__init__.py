"""Mask encodings, one file each: classes to the real-valued channels that are noised."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainables.part import Part, require


@dataclass(frozen=True)
class Encoding(Part):
    """x0 = scale·(2m − 1) + offset, for {0, 1} channels m that stand for the classes.

    {−1, 1} is scale 1 and offset 0; {0, 1} is scale ½ and offset ½, 1.386 lower in log-SNR.
    """

    kind: ClassVar[str] = "encodings"

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        require(self.scale > 0, f"scale={self.scale} must be positive")

    def to_x0(self, mask_BMHW: Tensor) -> Tensor:
        """{0, 1} channels, or their expectations, to x0."""
        return self.scale * (2 * mask_BMHW - 1) + self.offset

    def to_mask(self, x0_BMHW: Tensor) -> Tensor:
        """x0 to channels clamped to [0, 1]: a denoiser's mean is then a probability per channel."""
        return (((x0_BMHW - self.offset) / self.scale + 1) / 2).clamp(0, 1)

    def clamp(self, x0_BMHW: Tensor) -> Tensor:
        """The nearest x0 between the two values that a channel can have."""
        return x0_BMHW.clamp(self.offset - self.scale, self.offset + self.scale)

    @abc.abstractmethod
    def channels(self, classes: int) -> int:
        """How many channels M a mask of this many classes (background included) has."""

    @abc.abstractmethod
    def mask(self, labels_BHW: Tensor, classes: int) -> Tensor:
        """Labels 0..K−1 to {0, 1} channels, float32 [B, M, H, W]."""

    @abc.abstractmethod
    def expected(self, logits_BMHW: Tensor) -> Tensor:
        """The probability of each channel being 1, from a head's logits."""

    @abc.abstractmethod
    def cross_entropy(self, logits_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
        """−log p of the true mask per pixel, [B, H, W], in nats."""

    @abc.abstractmethod
    def classes(self, mask_BMHW: Tensor, classes: int) -> Tensor:
        """Channel probabilities to class probabilities: [B, 1, H, W] for two classes, else K."""

    @abc.abstractmethod
    def of_classes(self, p_BKHW: Tensor, classes: int) -> Tensor:
        """Class probabilities to channel probabilities; the inverse of :meth:`classes`."""

"""The interface of mask encodings."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainables import masks
from trainables.part import Part, require


@dataclass(frozen=True)
class Encoding(Part):
    """x0 = scale·(2m − 1) + offset, for {0, 1} channels m that stand for the classes.

    Values {−1, 1} are scale 1 and offset 0. Values {0, 1} are scale ½ and offset ½; their log-SNR
    is lower by 1.386.
    """

    kind: ClassVar[str] = "encodings"
    pixelwise: ClassVar[bool] = True
    """Whether a pixel of x0 depends on the label of this pixel only."""

    scale: float = 1.0
    """Half the distance between the two values of a channel."""
    offset: float = 0.0
    """The middle of the two values of a channel."""

    def __post_init__(self) -> None:
        require(self.scale > 0, f"scale={self.scale} must be positive")

    def to_x0(self, mask_BMHW: Tensor) -> Tensor:
        """Return x0 for {0, 1} channels, or for their expectations."""
        return self.scale * (2 * mask_BMHW - 1) + self.offset

    def to_mask(self, x0_BMHW: Tensor) -> Tensor:
        """Return channels clamped to [0, 1]: the mean of a denoiser becomes probabilities."""
        return (((x0_BMHW - self.offset) / self.scale + 1) / 2).clamp(0, 1)

    def clamp(self, x0_BMHW: Tensor) -> Tensor:
        """Return the nearest x0 between the two values that a channel can have."""
        return x0_BMHW.clamp(self.offset - self.scale, self.offset + self.scale)

    def encoded(self, labels_BHW: Tensor, classes: int) -> Tensor:
        """Return x0 of labels, its offset (no evidence for any class) at ignored pixels."""
        mask_BMHW = self.mask(masks.known(labels_BHW), classes)
        return self.to_x0(masks.halved(mask_BMHW, labels_BHW))

    @abc.abstractmethod
    def channels(self, classes: int) -> int:
        """Return the number of channels M of a mask with K classes, background included."""

    @abc.abstractmethod
    def mask(self, labels_BHW: Tensor, classes: int) -> Tensor:
        """Return labels 0..K−1 as {0, 1} channels, float32 [B, M, H, W]."""

    @abc.abstractmethod
    def expected(self, logits_BMHW: Tensor) -> Tensor:
        """Return the probability that each channel is 1, from the logits of the network's head."""

    @abc.abstractmethod
    def cross_entropy(self, logits_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
        """Return −log p of the true mask per pixel, [B, H, W], in nats."""

    @abc.abstractmethod
    def classes(self, mask_BMHW: Tensor, classes: int) -> Tensor:
        """Return class probabilities from channel probabilities: [B, 1, H, W] for K = 2, else K."""

    @abc.abstractmethod
    def of_classes(self, p_BKHW: Tensor, classes: int) -> Tensor:
        """Return channel probabilities from class probabilities; the inverse of :meth:`classes`."""

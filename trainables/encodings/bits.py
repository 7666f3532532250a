"""Analog bits: one channel per bit of the class number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainables import masks
from trainables.encodings import Encoding


@dataclass(frozen=True)
class Bits(Encoding):
    """Chen et al. 2022 (arXiv 2208.04202, section 2): fewer channels than one-hot.

    Bits are predicted independently of each other. If the number of classes is not a power of two,
    some codes are unused, and class probabilities are renormalised over the used codes.
    """

    def channels(self, classes: int) -> int:
        return (classes - 1).bit_length()

    def mask(self, labels_BHW: Tensor, classes: int) -> Tensor:
        return _bit(labels_BHW.long(), self.channels(classes)).movedim(-1, 1).float()

    def expected(self, logits_BMHW: Tensor) -> Tensor:
        return logits_BMHW.sigmoid()

    def cross_entropy(self, logits_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            logits_BMHW, mask_BMHW, reduction="none"
        ).sum(1)

    def classes(self, mask_BMHW: Tensor, classes: int) -> Tensor:
        if classes == 2:
            return mask_BMHW
        codes = _bit(torch.arange(classes, device=mask_BMHW.device), mask_BMHW.shape[1])
        likelihood = torch.where(
            codes[None, :, :, None, None].bool(), mask_BMHW[:, None], 1 - mask_BMHW[:, None]
        ).prod(2)
        return masks.normalised(likelihood)

    def of_classes(self, p_BKHW: Tensor, classes: int) -> Tensor:
        if classes == 2:
            return p_BKHW
        codes = _bit(torch.arange(classes, device=p_BKHW.device), self.channels(classes))
        return torch.einsum("bkhw,km->bmhw", p_BKHW, codes.to(p_BKHW))


def _bit(number: Tensor, bits: int) -> Tensor:
    """Return binary digits, the least significant first, on a new last axis."""
    return (number[..., None] >> torch.arange(bits, device=number.device)) & 1

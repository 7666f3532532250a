"""One-hot: one channel for two classes (the foreground), one per class for more."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from trainables import masks
from trainables.encodings import Encoding


@dataclass(frozen=True)
class OneHot(Encoding):
    """The channels that segmentation networks predict; the head is a sigmoid, or a softmax."""

    def channels(self, classes: int) -> int:
        return masks.channels(classes)

    def mask(self, labels_BHW: Tensor, classes: int) -> Tensor:
        return masks.to_channels(labels_BHW, classes)

    def expected(self, logits_BMHW: Tensor) -> Tensor:
        return masks.probabilities(logits_BMHW)

    def cross_entropy(self, logits_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
        if logits_BMHW.shape[1] == 1:
            return functional.binary_cross_entropy_with_logits(
                logits_BMHW, mask_BMHW, reduction="none"
            )[:, 0]
        return -(mask_BMHW * logits_BMHW.log_softmax(1)).sum(1)

    def classes(self, mask_BMHW: Tensor, classes: int) -> Tensor:
        return masks.normalised(mask_BMHW)

    def of_classes(self, p_BKHW: Tensor, classes: int) -> Tensor:
        return p_BKHW

"""One-hot: one foreground channel for two classes, one channel per class for more."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables import masks
from trainables.encodings import Encoding


@dataclass(frozen=True)
class OneHot(Encoding):
    """The channels that segmentation networks predict, with a sigmoid or softmax head."""

    def channels(self, classes: int) -> int:
        return masks.channels(classes)

    def mask(self, labels_BHW: Tensor, classes: int) -> Tensor:
        return masks.to_channels(labels_BHW, classes)

    def expected(self, logits_BMHW: Tensor) -> Tensor:
        return masks.probabilities(logits_BMHW)

    def cross_entropy(self, logits_BMHW: Tensor, mask_BMHW: Tensor) -> Tensor:
        return masks.cross_entropy(logits_BMHW, mask_BMHW)

    def classes(self, mask_BMHW: Tensor, classes: int) -> Tensor:
        return masks.normalised(mask_BMHW)

    def of_classes(self, p_BKHW: Tensor, classes: int) -> Tensor:
        return p_BKHW

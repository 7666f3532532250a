"""SDF: the signed distance of each pixel to the outline of its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from trainables import masks
from trainables.encodings.onehot import OneHot
from trainables.part import require


@dataclass(frozen=True)
class SDF(OneHot):
    """One channel per channel of one-hot: the signed distance, cut off at ``radius`` pixels.

    The distance of a pixel's centre to the outline is positive inside of the class and negative
    outside; the outline runs half a pixel from the centres beside it. A mask and its distances
    determine each other, so that both have the same entropy (Bogensperger et al. 2025, FlowSDF,
    arXiv 2405.18087). Channels are not bits: losses of mask logits do not apply.
    """

    pixelwise: ClassVar[bool] = False

    radius: float = 8.0
    """Pixels from the outline at which the distance is cut off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.radius >= 0.5, f"radius={self.radius} must be at least 0.5 pixels")

    def to_x0(self, mask_BMHW: Tensor) -> Tensor:
        """Return the scaled distances of the mask that probabilities above ½ form."""
        inside = (mask_BMHW > 0.5).cpu().numpy()
        planes = [_signed_distance(plane) for plane in inside.reshape(-1, *inside.shape[2:])]
        pixels = torch.as_tensor(np.stack(planes)).reshape(mask_BMHW.shape).to(mask_BMHW)
        distance = pixels.clamp(-self.radius, self.radius) / self.radius
        return self.scale * distance + self.offset

    def to_mask(self, x0_BMHW: Tensor) -> Tensor:
        """Return the share of a pixel inside of the outline: 0 and 1 half a pixel from it."""
        pixels = (x0_BMHW - self.offset) / self.scale * self.radius
        return (pixels + 0.5).clamp(0, 1)

    def encoded(self, labels_BHW: Tensor, classes: int) -> Tensor:
        x0 = self.to_x0(self.mask(masks.known(labels_BHW), classes))
        return x0.masked_fill(~masks.counted(labels_BHW)[:, None], self.offset)


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Return pixels to the outline, positive inside; infinite in a plane without an outline."""
    if inside.all() or not inside.any():
        return np.full(inside.shape, np.inf if inside.any() else -np.inf, np.float32)
    within = np.asarray(ndimage.distance_transform_edt(inside))
    beyond = np.asarray(ndimage.distance_transform_edt(~inside))
    return np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)

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
        inside = mask_BMHW > 0.5
        return self._distances(inside, ~inside)

    def _distances(self, inside_BMHW: Tensor, outside_BMHW: Tensor) -> Tensor:
        """Return scaled distances of the pixels that are inside or outside, float32."""
        sides = [side.flatten(0, 1).cpu().numpy() for side in (inside_BMHW, outside_BMHW)]
        planes = [_signed_distance(*pair) for pair in zip(*sides, strict=True)]
        pixels = torch.as_tensor(np.stack(planes)).reshape(inside_BMHW.shape)
        distance = pixels.clamp(-self.radius, self.radius) / self.radius
        return (self.scale * distance + self.offset).to(inside_BMHW.device)

    def to_mask(self, x0_BMHW: Tensor) -> Tensor:
        """Return the share of a pixel inside of the outline: 0 and 1 half a pixel from it."""
        pixels = (x0_BMHW - self.offset) / self.scale * self.radius
        return (pixels + 0.5).clamp(0, 1)

    def encoded(self, labels_BHW: Tensor, classes: int) -> Tensor:
        """Return x0 of labels; pixels to be ignored are on neither side of an outline."""
        known = masks.counted(labels_BHW)[:, None]
        inside = self.mask(masks.known(labels_BHW), classes) > 0.5
        x0 = self._distances(inside & known, ~inside & known)
        return x0.masked_fill(~known, self.offset)


def _signed_distance(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return pixels to the outline, positive inside; infinite where the other side is empty."""
    return np.where(inside, _distance_to(outside) - 0.5, 0.5 - _distance_to(inside))


def _distance_to(side: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel's centre to the nearest one on a side, float32."""
    if not side.any():
        return np.full(side.shape, np.inf, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~side), np.float32)

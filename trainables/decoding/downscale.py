"""Reduction of large images: means over areas, and for masks the most frequent class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

Array = NDArray[Any]


def reduced(
    pixels_CHW: Array, labels_HW: NDArray[np.uint8], longest: int
) -> tuple[Array, NDArray[np.uint8]]:
    """Return pixels and labels whose longer side is at most ``longest``; 0: as they are."""
    height, width = labels_HW.shape
    if longest == 0 or max(height, width) <= longest:
        return pixels_CHW, labels_HW
    scale = longest / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = np.stack([_area(channel, size) for channel in pixels_CHW])
    if pixels_CHW.dtype.kind in "iu":
        pixels = pixels.round().astype(pixels_CHW.dtype)
    share, targets = np.zeros(size, np.float32), np.zeros(size, np.uint8)
    for label in np.flatnonzero(np.bincount(labels_HW.ravel())):
        covered = _area(labels_HW == label, size)
        targets[covered > share] = label
        share = np.maximum(share, covered)
    return pixels, targets


def _area(values_HW: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    library: Any = torch  # its from_numpy has no complete type
    values = library.from_numpy(values_HW.astype(np.float32))[None, None]
    return interpolate(values, size, mode="area")[0, 0].numpy()

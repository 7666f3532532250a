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
    size = reduced_size(labels_HW, longest)
    if size == labels_HW.shape:
        return pixels_CHW, labels_HW
    pixels = np.stack([_area(channel, size) for channel in pixels_CHW])
    if pixels_CHW.dtype.kind in "iu":
        pixels = pixels.round().astype(pixels_CHW.dtype)
    return pixels, reduced_labels(labels_HW, size)


def reduced_size(labels_HW: NDArray[np.uint8], longest: int) -> tuple[int, int]:
    """Return the height and width after a reduction to ``longest`` pixels; 0: as they are."""
    height, width = labels_HW.shape
    if longest == 0 or max(height, width) <= longest:
        return height, width
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduced_labels(labels_HW: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the labels at a smaller size: the label that covers most of each pixel."""
    share, targets = np.zeros(size, np.float32), np.zeros(size, np.uint8)
    for label in np.flatnonzero(np.bincount(labels_HW.ravel())):
        covered = _area(labels_HW == label, size)
        targets[covered > share] = label
        share = np.maximum(share, covered)
    return targets


def _area(values_HW: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    library: Any = torch  # its from_numpy has no complete type
    values = library.from_numpy(values_HW.astype(np.float32))[None, None]
    return interpolate(values, size, mode="area")[0, 0].numpy()

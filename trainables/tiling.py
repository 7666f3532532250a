"""Overlapping windows over images larger than a patch, and the blend back to native size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainables.torch_calls import ints, unflattened


@dataclass(frozen=True)
class Window:
    """The position of a square patch; it may reach beyond a smaller image."""

    top: int
    left: int
    size: int

    def cut(self, image_CHW: Tensor) -> Tensor:
        """Return the patch, float32 [C, size, size]; beyond the image its edge pixels are repeated.

        On a smaller image than the one that the window was made for, the patch is moved inside.
        """
        height, width = image_CHW.shape[1:]
        top = min(self.top, max(0, height - self.size))
        left = min(self.left, max(0, width - self.size))
        part = image_CHW[:, top : top + self.size, left : left + self.size].float()
        below, right = self.size - part.shape[1], self.size - part.shape[2]
        if below == 0 and right == 0:
            return part
        return functional.pad(part[None], (0, right, 0, below), mode="replicate")[0]


def windows(height: int, width: int, size: int, overlap: float) -> list[Window]:
    """Return windows that cover an image; neighbours share at least ``overlap`` of their side.

    >>> [(w.top, w.left) for w in windows(4, 10, 4, 0.25)]
    [(0, 0), (0, 3), (0, 6)]
    """
    return [
        Window(top, left, size)
        for top in _starts(height, size, overlap)
        for left in _starts(width, size, overlap)
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """Return evenly spaced first pixels; the last window ends at the border."""
    if length <= size:
        return [0]
    step = max(1, int(size * (1 - overlap)))
    count = -(-(length - size) // step) + 1
    return ints(torch.linspace(0, length - size, count).round().int())


def blended(patches: list[Tensor], over: list[Window], height: int, width: int) -> Tensor:
    """Blend patches [..., size, size] into the image that their windows cover, [..., H, W]."""
    if len(over) == 1:
        return patches[0][..., :height, :width]
    canvas = Canvas(tuple(patches[0].shape[:-2]), height, width)
    for window, patch in zip(over, patches, strict=True):
        canvas.add(window, patch)
    return canvas.mean()


def sized(p: Tensor, native: tuple[int, ...]) -> Tensor:
    """Interpolate probabilities [..., C, h, w] to another height and width."""
    if tuple(p.shape[-2:]) == native:
        return p
    flat = functional.interpolate(p.flatten(0, -4), native, mode="bilinear", align_corners=False)
    return unflattened(flat, 0, p.shape[:-3])


class Canvas:
    """The weighted mean of patches, with weights that fall towards the border of a patch."""

    def __init__(self, leading: tuple[int, ...], height: int, width: int) -> None:
        self.sum = torch.zeros(*leading, height, width)
        self.weight = torch.zeros(height, width)

    def add(self, window: Window, patch: Tensor) -> None:
        """Add a patch [..., size, size] at its window."""
        height, width = self.weight.shape
        rows = slice(window.top, min(window.top + window.size, height))
        columns = slice(window.left, min(window.left + window.size, width))
        inside = (slice(rows.stop - rows.start), slice(columns.stop - columns.start))
        weight = _weights(window.size)[inside]
        self.sum[..., rows, columns] += patch[..., *inside] * weight
        self.weight[rows, columns] += weight

    def mean(self) -> Tensor:
        """Return the blend, [..., H, W]."""
        return self.sum / self.weight


def _weights(size: int) -> Tensor:
    """Return the product of two triangles, positive everywhere: [size, size]."""
    side = 1 - ((torch.arange(size) + 0.5) / size * 2 - 1).abs()
    return side[:, None] * side

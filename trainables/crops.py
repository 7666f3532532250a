"""The crops of a training batch: augmented one by one on the host, or in one call on a device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from trainables.augment import View, resampled, square, turned, warped
from trainables.data import Case
from trainables.tiling import Window

OVERSHOOT = 2.0
"""At most as many times as far as its farthest control point moves a pixel in a bicubic field.

The absolute weights of four points add up to at most 1.375 along each axis (a = −0.75).
"""

MOST_VALUES = 1 << 26
"""Values of regions that are converted to float32 at once."""


class Crop(NamedTuple):
    """A window of a training image, and how it is augmented."""

    case: Case
    window: Window
    view: View
    targets: Tensor
    """The labels of the image that are trained on: uint8 [h, w]."""


def augmented(crops: Sequence[Crop], *, warps: bool, colour: bool) -> tuple[Tensor, Tensor]:
    """Return the images, float32 [B, C, S, S], and labels, uint8 [B, S, S], of crops."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for case, window, view, targets in crops:
        if warps:
            image, marks = warped(case.pixels, targets, window, view)
            image = image if case.norm is None else case.norm(image)
        else:
            image, marks = case.patch(window), window.cut(targets[None])[0].byte()
        if colour:
            image = image * view.gain[:, None, None] + view.offset[:, None, None]
        images.append(turned(image, view.turn))
        labels.append(turned(marks, view.turn))
    return torch.stack(images), torch.stack(labels)


class Warp(NamedTuple):
    """Where the pixels of the crops of a batch lie in their images."""

    centres_B2: Tensor
    """Row and column of each crop's centre in its image."""
    matrices_B22: Tensor
    """What turns and scales positions from the centre."""
    bends_B2KK: Tensor
    corners_B2: Tensor
    """The first row and column of each region in its image."""
    last_B2: Tensor
    """The last row and column of each image."""

    def positions(self, size: int) -> Tensor:
        """Return the position in its region of each pixel of a crop: [B, size, size, 2]."""
        bends = interpolate(self.bends_B2KK, (size, size), mode="bicubic", align_corners=True)
        row, column = (square(size, bends.device) + bends).unbind(1)
        a, b, c, d = self.matrices_B22.flatten(1)[..., None, None].unbind(1)
        # No matrix product: TF32 would round positions.
        at = torch.stack([a * row + b * column, c * row + d * column], -1)
        at = (at + self.centres_B2[:, None, None]).clamp(min=0)
        return at.minimum(self.last_B2[:, None, None]) - self.corners_B2[:, None, None]


class Regions(NamedTuple):
    """The parts of images that the crops of a batch are made of, for one call on a device."""

    images_BCHW: Tensor
    """The stored values; a region is filled up to the size of the largest one with its edge."""
    labels_BHW: Tensor
    """uint8."""
    turns_B: Tensor
    gains_BC: Tensor
    offsets_BC: Tensor
    mean_C11: Tensor
    std_C11: Tensor
    warp: Warp | None
    """None: the regions are the crops."""

    def pinned(self) -> Regions:
        """Return the same in memory from which a GPU copies while the host goes on."""
        return self._each(Tensor.pin_memory)

    def to(self, device: str) -> Regions:
        """Return the same on a device; a copy from pinned memory is not waited for."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Regions:
        moved = None if self.warp is None else Warp(*map(change, self.warp))
        return Regions(*(change(x) for x in self if isinstance(x, Tensor)), warp=moved)

    def augmented(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the images, float32 [B, C, S, S], and labels, uint8 [B, S, S], on the device.

        They are those of :func:`augmented` to the rounding of float32; labels at equal distance
        from two pixels may be of either.
        """
        images, labels = self.images_BCHW, self.labels_BHW
        if self.warp is not None:
            images, labels = self._resampled(self.warp.positions(size))
        images = (images.float() - self.mean_C11) / self.std_C11
        images = images * self.gains_BC[..., None, None] + self.offsets_BC[..., None, None]
        pixels = torch.arange(size * size, device=images.device).view(size, size)
        turns = torch.stack([turned(pixels, k).flatten() for k in range(8)])[self.turns_B]
        each = turns[:, None].expand(-1, images.shape[1], -1)
        images = images.flatten(2).gather(2, each).view_as(images)
        return images, labels.flatten(1).gather(1, turns).view_as(labels)

    def _resampled(self, at_BHW2: Tensor) -> tuple[Tensor, Tensor]:
        """Return the crops; so many at once that their regions take 256 MiB as float32."""
        count = max(1, MOST_VALUES // self.images_BCHW[0].numel())
        parts = [
            resampled(
                *(x[first : first + count] for x in (self.images_BCHW, self.labels_BHW, at_BHW2))
            )
            for first in range(0, len(at_BHW2), count)
        ]
        return torch.cat([image for image, _ in parts]), torch.cat([marks for _, marks in parts])


def regions(crops: Sequence[Crop], *, warps: bool) -> Regions:
    """Return the regions of crops; nothing is computed with their pixels."""
    boxes = [_box(crop) for crop in crops] if warps else []
    parts = [_part(crop, box) for crop, box in zip_longest(crops, boxes)]
    height, width = (max(y.shape[axis] for _, y in parts) for axis in (0, 1))
    if len({x.dtype for x, _ in parts}) > 1:  # not all pairs of types have a common one
        parts = [(x.float(), y) for x, y in parts]

    rows, columns = torch.arange(height), torch.arange(width)

    def filled(x: Tensor) -> Tensor:
        within = (rows.clamp(max=x.shape[-2] - 1)[:, None], columns.clamp(max=x.shape[-1] - 1))
        return x[..., *within]

    views = [crop.view for crop in crops]
    norm = crops[0].case.norm  # the one of the training images
    return Regions(
        torch.stack([filled(x) for x, _ in parts]),
        torch.stack([filled(y) for _, y in parts]),
        torch.tensor([view.turn for view in views]),
        torch.stack([view.gain for view in views]),
        torch.stack([view.offset for view in views]),
        torch.zeros(1, 1, 1) if norm is None else norm.mean,
        torch.ones(1, 1, 1) if norm is None else norm.std,
        _warp(crops, boxes) if warps else None,
    )


def _part(crop: Crop, box: tuple[slice, slice] | None) -> tuple[Tensor, Tensor]:
    """Return the stored values and the labels of a box, or of the window itself."""
    case, window, _, targets = crop
    if box is None:
        labels = window.cut(targets[None])[0]
        return window.cut(case.pixels).to(case.pixels.dtype), labels.to(targets.dtype)
    rows, columns = box
    return case.pixels[:, rows, columns], targets[rows, columns]


def _warp(crops: Sequence[Crop], boxes: Sequence[tuple[slice, slice]]) -> Warp:
    return Warp(
        torch.tensor([_centre(crop.window) for crop in crops]),
        torch.tensor([_matrix(crop.view) for crop in crops]),
        torch.stack([crop.view.bend for crop in crops]),
        torch.tensor([(rows.start, columns.start) for rows, columns in boxes]),
        torch.tensor([[n - 1.0 for n in crop.targets.shape] for crop in crops]),
    )


def _centre(window: Window) -> tuple[float, float]:
    half = (window.size - 1) / 2
    return window.top + half, window.left + half


def _matrix(view: View) -> list[list[float]]:
    """Return what turns and scales positions from the centre."""
    cos, sin = math.cos(view.angle) * view.zoom, math.sin(view.angle) * view.zoom
    return [[cos, -sin], [sin, cos]]


def _box(crop: Crop) -> tuple[slice, slice]:
    """Return the rows and columns of an image that hold every position of a crop, and a margin."""
    reach = (crop.window.size - 1) / 2 + OVERSHOOT * float(crop.view.bend.abs().max())
    reach *= sum(abs(x) for x in _matrix(crop.view)[0])
    rows, columns = (
        slice(min(max(0, math.floor(at - reach)), n - 1), min(max(1, math.ceil(at + reach) + 1), n))
        for at, n in zip(_centre(crop.window), crop.targets.shape, strict=True)
    )
    return rows, columns

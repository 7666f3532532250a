"""Augmentation of training crops: symmetries, rotation, scale, elastic deformation and colour.

All draws depend on the seed and the step alone, so every arm of an ablation sees the same crops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from trainables.part import require
from trainables.tiling import Window

KNOTS = 4
"""Control points of an elastic field along each side of a crop."""


@dataclass(frozen=True)
class Augment:
    """The strength of augmentation: each number is the maximum of a uniform draw."""

    flips: bool = True
    """The eight symmetries of the square."""
    rotate: float = 0.0
    """Degrees, in both directions."""
    scale: float = 0.0
    """Octaves, in both directions: 1 is from half to double size."""
    elastic: float = 0.0
    """Displacement of the control points, as a share of the crop's side."""
    colour: float = 0.0
    """Each channel gets a factor 1 ± this and an offset of ± this many standard deviations."""

    def __post_init__(self) -> None:
        for name, most in (("rotate", 180.0), ("scale", 3.0), ("elastic", 0.25), ("colour", 1.0)):
            value = getattr(self, name)
            require(0 <= value <= most, f"{name}={value} must lie in [0, {most:g}]")

    @property
    def warps(self) -> bool:
        """Whether crops are resampled, instead of only cut."""
        return self.rotate > 0 or self.scale > 0 or self.elastic > 0


@dataclass(frozen=True)
class View:
    """The draws of one case."""

    turn: int
    """The symmetry of the square, 0..7."""
    angle: float
    """Radians."""
    zoom: float
    """Pixels of the image per pixel of the crop."""
    bend: Tensor
    """[2, KNOTS, KNOTS], the displacement of the control points in pixels of the crop."""
    gain: Tensor
    """[C]."""
    offset: Tensor
    """[C]."""


def views(
    augment: Augment, turns: list[int], size: int, channels: int, draws: torch.Generator
) -> list[View]:
    """Return the draws of a batch with given ``turns``."""

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(len(turns), *shape, generator=draws) - 1

    angle, zoom = uniform() * math.radians(augment.rotate), 2 ** (uniform() * augment.scale)
    bend = uniform(2, KNOTS, KNOTS) * augment.elastic * size
    colour = uniform(2, channels) * augment.colour
    return [
        View(
            turn if augment.flips else 0,
            float(angle[i]),
            float(zoom[i]),
            bend[i],
            1 + colour[i, 0],
            colour[i, 1],
        )
        for i, turn in enumerate(turns)
    ]


def coordinates(window: Window, view: View) -> Tensor:
    """Return the image position of each pixel of the crop: [size, size, 2] of (row, column)."""
    half = (window.size - 1) / 2
    bend = interpolate(view.bend[None], (window.size,) * 2, mode="bicubic", align_corners=True)[0]
    cos, sin = math.cos(view.angle) * view.zoom, math.sin(view.angle) * view.zoom
    row, column = square(window.size) + bend
    centre = torch.tensor([window.top + half, window.left + half])
    return torch.stack([cos * row - sin * column, sin * row + cos * column], -1) + centre


def square(size: int, device: str | torch.device = "cpu") -> Tensor:
    """Return the row and the column of each pixel of a crop from its centre: [2, size, size]."""
    line = torch.arange(size, device=device) - (size - 1) / 2
    return torch.stack(torch.meshgrid(line, line, indexing="ij"))


def warped(
    pixels_CHW: Tensor, labels_HW: Tensor, window: Window, view: View
) -> tuple[Tensor, Tensor]:
    """Return a bilinearly resampled crop, float32 [C, size, size], and its nearest labels.

    Beyond the image its edge is repeated. Only the part of the image in use is read.
    """
    at = coordinates(window, view)
    most = torch.tensor([n - 1 for n in labels_HW.shape])
    at = at.clamp(min=torch.zeros(2), max=most)
    low = at.amin((0, 1)).floor().long()
    high = at.amax((0, 1)).ceil().long().clamp(min=low + 1).minimum(most)
    rows, columns = slice(int(low[0]), int(high[0]) + 1), slice(int(low[1]), int(high[1]) + 1)
    image, labels = pixels_CHW[:, rows, columns], labels_HW[rows, columns]
    images, marks = resampled(image[None], labels[None], (at - low)[None])
    return images[0], marks[0]


def resampled(images_BCHW: Tensor, labels_BHW: Tensor, at_BHW2: Tensor) -> tuple[Tensor, Tensor]:
    """Return images at positions in pixels, float32 and bilinear, and the nearest labels."""
    height, width = (max(n - 1, 1) for n in labels_BHW.shape[1:])
    row, column = (2 * at_BHW2).unbind(-1)
    # grid_sample wants (x, y) in [-1, 1].
    grid = torch.stack([column / width - 1, row / height - 1], -1)
    images = grid_sample(images_BCHW.float(), grid, "bilinear", "border", align_corners=True)
    marks = labels_BHW[:, None].float()
    labels = grid_sample(marks, grid, "nearest", "border", align_corners=True)
    return images, labels[:, 0].byte()


def turned(x: Tensor, turn: int) -> Tensor:
    """Apply one of the eight symmetries of the square to the last two axes."""
    x = x.rot90(turn % 4, (-2, -1))
    return x.flip(-1) if turn >= 4 else x


def unturned(x: Tensor, turn: int) -> Tensor:
    """Apply the inverse of :func:`turned`."""
    return (x.flip(-1) if turn >= 4 else x).rot90(-turn % 4, (-2, -1))

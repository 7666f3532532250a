"""Training crops: where they are cut, and how they are turned, scaled, bent and coloured.

All draws depend on the seed and the step alone, so that every arm of an ablation sees the same.
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
    """How much training crops vary. Each number is the most; draws are uniform up to it."""

    flips: bool = True
    """The eight symmetries of the square."""
    rotate: float = 0.0
    """Degrees, either way."""
    scale: float = 0.0
    """Octaves, either way: 1 is from half to double size."""
    elastic: float = 0.0
    """Displacement of control points, a third of a crop apart, as a share of its side."""
    colour: float = 0.0
    """Of each channel: a factor 1 ± this, and an offset of ± this many standard deviations."""

    def __post_init__(self) -> None:
        for name, most in (("rotate", 180.0), ("scale", 3.0), ("elastic", 0.25), ("colour", 1.0)):
            value = getattr(self, name)
            require(0 <= value <= most, f"{name}={value} must lie in [0, {most:g}]")

    @property
    def warps(self) -> bool:
        """Whether crops are resampled, not only cut."""
        return self.rotate > 0 or self.scale > 0 or self.elastic > 0


@dataclass(frozen=True)
class View:
    """One case's draws."""

    turn: int
    """Which symmetry of the square, 0..7."""
    angle: float
    """Radians."""
    zoom: float
    """Pixels of the image per pixel of the crop."""
    bend: Tensor
    """[2, KNOTS, KNOTS], pixels of the crop: how far its control points are moved."""
    gain: Tensor
    """[C]."""
    offset: Tensor
    """[C]."""


def views(
    augment: Augment, turns: list[int], size: int, channels: int, draws: torch.Generator
) -> list[View]:
    """The draws of a whole batch, ``turns`` being made already."""

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
    """Where in the image each pixel of the crop comes from: [size, size, 2] of (row, column)."""
    half = (window.size - 1) / 2
    line = torch.arange(window.size) - half
    size = (window.size, window.size)
    bend = interpolate(view.bend[None], size, mode="bicubic", align_corners=True)[0]
    at = torch.stack(torch.meshgrid(line, line, indexing="ij")) + bend
    cos, sin = math.cos(view.angle) * view.zoom, math.sin(view.angle) * view.zoom
    row, column = at
    centre = torch.tensor([window.top + half, window.left + half])
    return torch.stack([cos * row - sin * column, sin * row + cos * column], -1) + centre


def warped(
    pixels_CHW: Tensor, labels_HW: Tensor, window: Window, view: View
) -> tuple[Tensor, Tensor]:
    """A crop float32 [C, size, size] between pixels, and its labels at the nearest ones.

    Beyond the image its edge is repeated. Only the part of it that is needed is read.
    """
    at = coordinates(window, view)
    most = torch.tensor([n - 1 for n in labels_HW.shape])
    at = at.clamp(min=torch.zeros(2), max=most)
    low = at.amin((0, 1)).floor().long()
    high = at.amax((0, 1)).ceil().long().clamp(min=low + 1).minimum(most)
    rows, columns = slice(int(low[0]), int(high[0]) + 1), slice(int(low[1]), int(high[1]) + 1)
    image, labels = pixels_CHW[:, rows, columns].float(), labels_HW[rows, columns].float()
    extent = torch.tensor([n - 1 for n in labels.shape]).clamp(min=1)
    grid = (2 * (at - low) / extent - 1).flip(-1)[None]  # grid_sample wants (x, y) in [-1, 1]
    cut = grid_sample(image[None], grid, "bilinear", "border", align_corners=True)
    marks = grid_sample(labels[None, None], grid, "nearest", "border", align_corners=True)
    return cut[0], marks[0, 0].byte()


def turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, on the last two axes."""
    x = x.rot90(turn % 4, (-2, -1))
    return x.flip(-1) if turn >= 4 else x


def unturned(x: Tensor, turn: int) -> Tensor:
    """What :func:`turned` made of it, turned back."""
    return (x.flip(-1) if turn >= 4 else x).rot90(-turn % 4, (-2, -1))

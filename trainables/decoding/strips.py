"""Splits of one field of view: strips of an image, with unused pixels between the splits."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from trainables.decoding.wheel import Wheel
from trainables.interfaces.dataset import Raster, Source, Split


class Strip(NamedTuple):
    """The rows or columns ``first`` to ``last`` of an image, which belong to one split."""

    split: Split
    first: int
    last: int


def stack(wheel: Wheel, member: str) -> NDArray[Any]:
    """Return a TIFF of a wheel, [frames, …]."""
    return tifffile.imread(io.BytesIO(wheel.read(member)))


def in_strips(
    pixels_NHW: NDArray[Any],
    instances_NHW: NDArray[Any],
    strips: Sequence[Strip],
    axis: Literal["rows", "columns"],
    frames: Sequence[int],
) -> Iterator[Source]:
    """Yield the strips of some frames; a strip is one group in all frames, which show one field.

    Every object is foreground. An object that a strip cuts keeps its number.
    """
    for frame in frames:
        pixels, instances = pixels_NHW[frame], instances_NHW[frame].astype(np.int32)
        for split, first, last in strips:
            part = np.s_[first:last, :] if axis == "rows" else np.s_[:, first:last]
            objects = instances[part]
            raster = Raster(pixels[part][None], (objects > 0).astype(np.uint8), objects)
            yield Source.of(f"{frame:02d}-{split}-{first}", f"{axis}-{first}-{last}", split, raster)

"""An image file as it is stored: numbers, and what the file says that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 2**26
"""Pixels of one image, by its header, so that a larger one is refused before it is decoded."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """The samples of an image file, and its metadata."""

    values: Array
    """[H, W] or [H, W, S], turned as the orientation tag says."""
    palette: NDArray[np.uint8] | None = None
    """[N, 4] RGBA: the values are indices into it."""
    alpha: bool = False
    """Whether the file declares its last sample to be transparency."""
    inverted: bool = False
    """Whether the file declares 0 to be white."""
    numeric: bool = False
    """Whether the program that wrote the file stores numbers whatever it declares to be white."""
    lossy: bool = False
    """Whether compression changed the values."""
    bits: int = 0
    """Bits per sample; 0 where they fill the type of the values."""
    step: int = 1
    """The decoder multiplied the stored numbers by it, to fill the type."""
    orientation: int = 1
    """The value of the orientation tag, 1 to 8; 1: as stored."""
    notes: tuple[str, ...] = ()
    """How ambiguous metadata were read."""

    @property
    def most(self) -> int:
        """The largest number that a sample may be; 0 for floats."""
        if self.values.dtype.kind == "b":
            return 1
        if self.values.dtype.kind not in "iu":
            return 0
        return 2**self.bits - 1 if self.bits else int(np.iinfo(self.values.dtype).max)


def bounded(width: int, height: int) -> None:
    """Refuse images without pixels, or with too many.

    Raises:
        ValueError: names the size.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"is {width} x {height} pixels, more than the {MAX_PIXELS} that are decoded"
        )
    if width * height == 0:
        raise ValueError("has no pixel")


def upright(values: Array, orientation: int) -> Array:
    """Samples [H, W, ...] turned as the orientation tag says (TIFF 6.0, tag 274).

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values

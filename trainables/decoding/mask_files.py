"""Mask files to labels; a file that could mean two different masks is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.images import read_stored
from trainables.decoding.labels import TOLERANCE, Legend, is_white, listed, to_labels
from trainables.decoding.mask_values import (
    GREY_SHARE,
    Read,
    grey_labels,
    in_colours,
    possible,
    sampled_labels,
)
from trainables.decoding.palettes import indexed_labels
from trainables.decoding.stored import Stored
from trainables.decoding.tree import File

DARK, LIGHT = 64, 192
"""Bounds of what is black and white in a lossy file of 8 bit."""


class Labels(NamedTuple):
    """A decoded mask."""

    values: NDArray[Any]
    """[H, W]: uint8 of 0..K−1 or :data:`~trainables.labels.IGNORE`, or int32 of 1 for
    the first object, and so on."""
    orientation: int
    """The orientation tag that was applied, 1 to 8."""
    notes: tuple[str, ...]
    """Which reading was taken where the file allows several."""
    white: bool | None = None
    """As of :class:`~trainables.interfaces.dataset.Raster`."""


def read_labels(file: File, legend: Legend) -> Labels:
    """A mask as labels 0..K−1.

    Two classes may be 0 and 1, or 0 and the largest value of the type or 255. A palette of black
    and white means its colours, any other palette means its indices.

    Raises:
        ValueError: the file is damaged, has colours, values that are no class, or two readings.
    """
    stored = read_stored(file)
    if stored.lossy:
        labels, notes = _lossy(stored, legend)
    elif stored.palette is not None:
        labels, notes = indexed_labels(stored, stored.palette, legend)
    elif stored.values.ndim == 3:
        labels, notes = sampled_labels(stored, legend)
    elif stored.inverted:
        labels, notes = _inverted(stored, legend)
    else:
        values = stored.values // stored.step if stored.step > 1 else stored.values
        labels, notes = grey_labels(values, stored.most, legend)
        white = is_white(values, labels, legend, stored.most)
        return Labels(labels, stored.orientation, (*stored.notes, *notes), white)
    return Labels(labels, stored.orientation, (*stored.notes, *notes))


def read_objects(file: File) -> Labels:
    """A mask of one number per object, 0 for none, as int32 numbers from 1.

    Raises:
        ValueError: the file is damaged, or has no such numbers.
    """
    stored = read_stored(file)
    values = stored.values
    if stored.lossy:
        raise ValueError("is compressed with loss, which changes numbers of objects")
    if stored.inverted and not stored.numeric:
        raise ValueError("declares 0 to be white (photometric MINISWHITE): save it with 0 as black")
    if values.ndim == 3 and (values == values[:, :, :1]).all():
        values = values[:, :, 0]
    if values.ndim == 3:
        raise ValueError("is a mask in colours, must have one number per object")
    values = values // stored.step if stored.step > 1 else values
    whole = np.round(values)
    near = np.abs(values - whole) <= TOLERANCE  # False for NaN
    numbers, objects = np.unique(np.where(near, whole, values), return_inverse=True)
    if numbers[0] < 0 or not near.all():
        raise ValueError(f"has mask values {listed(numbers)}, must be whole numbers from 0")
    first = int(numbers[0] > 0)
    return Labels((objects + first).astype(np.int32), stored.orientation, stored.notes)


def _lossy(stored: Stored, legend: Legend) -> Read:
    """A lossy file of two classes, cut in the middle.

    Raises:
        ValueError: there are more classes, or the file is not black and white.
    """
    if not legend.two:
        count = len(legend.classes)
        raise ValueError(
            f"is compressed with loss, which changes labels: {count} classes need PNG or TIFF"
        )
    values = stored.values
    if values.dtype != np.uint8:
        raise ValueError(f"is compressed with loss, of {values.dtype}: save it as PNG")
    if values.ndim == 3:
        if int(np.ptp(values, 2).max()) >= DARK:
            raise ValueError(in_colours(legend))
        values = values.mean(2)
    notes: list[str] = []
    if stored.inverted:  # as _inverted reads a file without loss
        read = "stored numbers are read as labels" if stored.numeric else "colours are read"
        notes.append(f"declares 0 to be white (photometric MINISWHITE): its {read}")
        values = values if stored.numeric else 255 - values
    light, dark = values >= LIGHT, values < DARK
    share = float((~light & ~dark).mean())
    least, most = float(values.min()), float(values.max())
    if share > GREY_SHARE or (0 < most < LIGHT) or (DARK <= least < 255):
        raise ValueError(
            f"is compressed with loss and has values {least:.0f} to {most:.0f}: it must be black"
            " (0) and white (255)"
        )
    if share > 0:
        notes.append(
            f"is compressed with loss: {share:.2%} of its pixels are grey; cut in the middle"
        )
    return Read((values > 127).astype(np.uint8), tuple(notes))


def _inverted(stored: Stored, legend: Legend) -> Read:
    """A file that declares 0 to be white: its numbers, or its colours where only these are labels.

    ImageJ and tifffile store numbers whatever they declare; of a bilevel file by another program
    the colours count.

    Raises:
        ValueError: both are possible, and nothing says which one is meant.
    """
    values, most = stored.values, stored.most
    numbers = possible(values, legend, most)
    colours = None
    if values.dtype.kind in "bu":
        white = ~values if values.dtype.kind == "b" else (most - values).astype(values.dtype)
        colours = possible(white, legend, most)
    if numbers is None and colours is None:
        return Read(to_labels(values, legend, most=most))
    says = "declares 0 to be white (photometric MINISWHITE):"
    if numbers is not None and (stored.numeric or legend.values or colours is None):
        return Read(numbers, (f"{says} its stored numbers are read as labels",))
    if colours is not None and (numbers is None or values.dtype.kind == "b"):
        return Read(colours, (f"{says} its colours are read, white as the larger label",))
    share = float((values != 0).mean())
    raise ValueError(
        f"{says} foreground is {share:.1%} by its numbers and {1 - share:.1%} by its colours; save"
        " it with 0 as black (MINISBLACK)"
    )

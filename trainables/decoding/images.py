"""Image files to pixels: what the stored numbers look like."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.pillow import read_pillow
from trainables.decoding.stored import Stored
from trainables.decoding.tiff import read_tiff
from trainables.decoding.tree import File

TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF, ".bmp")
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601 luma."""

Array = NDArray[Any]


class ChannelsError(ValueError):
    """An image of another number of channels than its data set."""

    def __init__(self, channels: int, wanted: int) -> None:
        super().__init__(f"has {channels} channel{'s' * (channels != 1)}, must have {wanted}")
        self.channels = channels


class Picture(NamedTuple):
    """A decoded image."""

    pixels: Array
    """[channels, H, W] of uint8, uint16, int16 or float32."""
    orientation: int
    """The orientation tag that was applied, 1 to 8."""
    notes: tuple[str, ...]
    """How ambiguous metadata were read."""


def read_stored(file: File) -> Stored:
    """The samples of a PNG, JPEG, TIFF or BMP file with its metadata.

    Raises:
        ValueError: the file is damaged, too large, or not one image.
    """
    data = file.read()
    return read_tiff(data) if file.suffix in TIFF else read_pillow(data)


def read_pixels(file: File, channels: int) -> Picture:
    """An image of so many channels.

    Grey is repeated for three channels, colour is reduced to luma for one; what the file declares
    to be transparency is left out.

    Raises:
        ChannelsError: it is not of so many channels.
        ValueError: the file is damaged, too large, or not finite.
    """
    stored = read_stored(file)
    values, notes = _samples(stored)
    if values.shape[2] == 1 and channels == 3:
        values = values.repeat(3, 2)
    elif values.shape[2] == 3 and channels == 1:
        luma = values.astype(np.float32) @ GREY
        values = luma.round().astype(values.dtype) if values.dtype.kind in "iu" else luma
        values = values[:, :, None]
    if values.shape[2] != channels:
        raise ChannelsError(values.shape[2], channels)
    pixels = np.ascontiguousarray(values.transpose(2, 0, 1))
    return Picture(pixels, stored.orientation, (*stored.notes, *notes))


def channels_of(file: File) -> int:
    """The channels of an image, without transparency.

    Raises:
        ValueError: the file is damaged, too large, or not finite.
    """
    return _samples(read_stored(file))[0].shape[2]


def _samples(stored: Stored) -> tuple[Array, tuple[str, ...]]:
    """The samples [H, W, C] without transparency."""
    values, notes = _seen(stored)
    values = compact(values)
    if values.ndim == 2:
        values = values[:, :, None]
    if stored.alpha and stored.palette is None:
        values = values[:, :, :-1]
    return values, notes


def _seen(stored: Stored) -> tuple[Array, tuple[str, ...]]:
    """The samples with the palette resolved and white as the largest value."""
    values = stored.values
    if stored.palette is not None:
        indices = values[:, :, 0] if values.ndim == 3 else values
        return padded(stored.palette, int(indices.max()))[indices, :3], ()
    if not stored.inverted:
        return values, ()
    if values.dtype.kind == "b":
        return ~values, ()
    if stored.most and values.dtype.kind == "u":
        return (stored.most - values).astype(values.dtype), ()
    rule = f"declares 0 to be white, which has no meaning for {values.dtype}: read as stored"
    return values, (rule,)


def padded(palette: NDArray[np.uint8], last: int) -> NDArray[np.uint8]:
    """A palette [N, 4] with black for indices up to the last that it does not define."""
    missing = last + 1 - len(palette)
    if missing <= 0:
        return palette
    return np.vstack([palette, np.tile(np.array([0, 0, 0, 255], np.uint8), (missing, 1))])


def compact(values: Array) -> Array:
    """The same values as uint8, uint16, int16 or float32: their own type, or one that holds them.

    Raises:
        ValueError: a NaN or inf.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError(f"has {int((~np.isfinite(values)).sum())} NaN or inf pixels")
        return values.astype(np.float32)
    if values.dtype.kind not in "iu":
        raise ValueError(f"has pixels of type {values.dtype}, must be numbers")
    if values.dtype.name in ("uint8", "uint16", "int16"):
        return values.astype(values.dtype.newbyteorder("="))
    low, high = int(values.min()), int(values.max())
    for kind in (np.uint16, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float32)

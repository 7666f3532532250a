"""PNG, JPEG and TIFF files to pixels and to labels, with the rules that a bad file breaks."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import PIL.Image
import PIL.ImageOps
import tifffile
from numpy.typing import NDArray

from trainables.decoding.tree import File, in_a_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")
"""That Pillow may find behind a suffix; some of its others start programs."""
LOSSY = (".jpg", ".jpeg")
MAX_PIXELS = 2**26
"""Of one image; known from its header, so that a larger one is refused before it is decoded."""
BROKEN = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, zlib.error)
"""What Pillow and imagecodecs raise on damaged files."""
DEEP_COLOURS = (b"\x10\x02", b"\x10\x04", b"\x10\x06")
"""Depth and colour type of PNGs that Pillow would cut to 8 bit: RGB, grey with alpha, RGBA."""
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601 luma."""

Array = NDArray[Any]


class Decoded(NamedTuple):
    """What a file holds, colours resolved or not."""

    values: Array
    """[H, W] or [H, W, S]."""
    turned: bool
    """Whether its EXIF orientation was applied."""


def read_pixels(file: File, channels: int) -> tuple[Array, bool]:
    """An image as [channels, H, W] of uint8, uint16, int16 or float32, and whether EXIF turned it.

    Grey is repeated for three channels, colour is reduced to luma for one; transparency is dropped.

    Raises:
        ValueError: the file is damaged, too large, not of so many channels, or not finite.
    """
    values, turned = _decode(file, indices=False)
    values = compact(values)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.shape[2] in (2, 4):  # the last one is transparency
        values = values[:, :, :-1]
    if values.shape[2] == 1 and channels == 3:
        values = values.repeat(3, 2)
    elif values.shape[2] == 3 and channels == 1:
        luma = values.astype(np.float32) @ GREY
        values = luma.round().astype(values.dtype) if values.dtype.kind in "iu" else luma
        values = values[:, :, None]
    if values.shape[2] != channels:
        raise ValueError(f"has {values.shape[2]} channels, must have {channels}")
    return np.ascontiguousarray(values.transpose(2, 0, 1)), turned


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


def read_labels(file: File, classes: tuple[str, ...]) -> tuple[NDArray[np.uint8], bool]:
    """A mask as labels 0..K−1, uint8 [H, W], and whether its EXIF orientation turned it.

    Indexed images are read as indices. Two classes may be 0 and 1, or 0 and the largest value of
    the type; a lossy file of two classes is cut in the middle.

    Raises:
        ValueError: the file is damaged, has colours, or values that are no class.
    """
    values, turned = _decode(file, indices=True)
    if values.ndim == 3:
        if values.shape[2] in (2, 4):
            values = values[:, :, :-1]
        if (values != values[:, :, :1]).any():
            raise ValueError(
                "is a mask in colours, must be grey or indexed: one number per class"
                f" ({', '.join(f'{k} {name}' for k, name in enumerate(classes))})"
            )
        values = values[:, :, 0]
    return to_labels(values, classes, lossy=file.suffix in LOSSY), turned


def to_labels(values: Array, classes: tuple[str, ...], *, lossy: bool = False) -> NDArray[np.uint8]:
    """Mask values to labels 0..K−1 by the rules of :func:`read_labels`."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if lossy and len(classes) == 2:
        return (values > 127).astype(np.uint8)
    found = np.flatnonzero(np.bincount(values.ravel())) if values.dtype == np.uint8 else None
    found = np.unique(values) if found is None else found
    if len(classes) == 2 and values.dtype.kind in "iu":
        most = np.iinfo(values.dtype).max
        if set(found.tolist()) <= {0, most}:
            return (values == most).astype(np.uint8)
    if ((found < 0) | (found >= len(classes)) | (found != np.floor(found))).any():
        shown = ", ".join(f"{v:g}" for v in found[:8].tolist()) + (
            ", ..." if len(found) > 8 else ""
        )
        known = ", ".join(f"{k} {name}" for k, name in enumerate(classes))
        raise ValueError(f"has mask values {shown}; the classes are {known}")
    return values.astype(np.uint8)


def mismatch(pixels: Array, labels: Array, turned: bool) -> str | None:
    """What to say where an image and its mask differ in size; None where they do not."""
    if pixels.shape[1:] == labels.shape:
        return None
    (height, width), (mask_height, mask_width) = pixels.shape[1:], labels.shape
    said = f"is {width} x {height} pixels but its mask is {mask_width} x {mask_height}"
    if turned and (width, height) == labels.shape:
        said += "; its EXIF orientation turns it, so the mask must be drawn on the turned image"
    return said


def _decode(file: File, *, indices: bool) -> Decoded:
    data = file.read()
    if file.suffix in (".tif", ".tiff"):
        return Decoded(_tiff(data, indices), turned=False)
    try:
        return _pillow(data, indices)
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ValueError(f"is too large to decode: {error}") from error
    except BROKEN as error:
        raise ValueError(f"is no image that can be read: {in_a_line(error)}") from error


def _bounded(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"is {width} x {height} pixels, more than the {MAX_PIXELS} that are decoded"
        )
    if width * height == 0:
        raise ValueError("has no pixel")


def _pillow(data: bytes, indices: bool) -> Decoded:
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _bounded(*image.size)
        if image.format == "PNG":
            image.verify()  # decoding would not check the checksums
            if data[24:26] in DEEP_COLOURS:
                return Decoded(imagecodecs.png_decode(data), turned=False)
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.mode in ("P", "PA") and not indices:
            loaded = image.convert("RGBA").convert("RGB")
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa"):
            loaded = image.convert("RGB")
        else:
            loaded = image
        orientation = image.getexif().get(0x0112, 1)
        loaded.load()
        upright = PIL.ImageOps.exif_transpose(loaded) if orientation != 1 else loaded
        return Decoded(np.asarray(upright), turned=orientation != 1)


def _tiff(data: bytes, indices: bool) -> Array:
    """A TIFF of any depth, [H, W] or [H, W, S]."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as opened:
            page: Any = opened.pages.first
            _bounded(page.imagewidth, page.imagelength * max(1, page.samplesperpixel // 4))
            if len(opened.pages) > 1 and page.shape == opened.pages[1].shape:
                raise ValueError(f"holds {len(opened.pages)} pages, must hold one image")
            values: Array = page.asarray()
            if values.ndim not in (2, 3):
                raise ValueError(f"is no TIFF that can be read: {page.bitspersample} bits a sample")
            if page.axes.startswith("S"):
                values = np.moveaxis(values, 0, -1)
            if page.colormap is not None and not indices:
                values = (page.colormap[:, values] >> 8).astype(np.uint8).transpose(1, 2, 0)
            if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                values = (
                    ~values if values.dtype.kind == "b" else np.iinfo(values.dtype).max - values
                )
            return values
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"is no TIFF that can be read: {in_a_line(error)}") from error

"""PNG, JPEG and BMP files, decoded by Pillow and, for deep colours, by imagecodecs."""

from __future__ import annotations

import io
import struct
import zlib
from typing import cast

import imagecodecs
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from trainables.decoding.stored import Stored, bounded, upright
from trainables.decoding.tree import in_a_line

FORMATS = ("PNG", "JPEG", "BMP")
"""The formats that Pillow may read; some of its other readers start programs."""
BROKEN = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, zlib.error)
"""The exceptions of Pillow and imagecodecs on damaged files."""
DEEP_COLOURS = (b"\x10\x02", b"\x10\x04", b"\x10\x06")
"""Depth and colour type of PNGs that Pillow would cut to 8 bit: RGB, grey with alpha, RGBA."""
FEW_BITS = (b"\x02\x00", b"\x04\x00")
"""Depth and colour type of grey PNGs that Pillow stretches to 8 bit."""
ORIENTATION = 0x0112


def read_pillow(data: bytes) -> Stored:
    """A file of one of the :data:`FORMATS`.

    Raises:
        ValueError: it is none, damaged, too large, or an animation.
    """
    try:
        return _decoded(data)
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ValueError(f"is too large to decode: {error}") from error
    except BROKEN as error:
        raise ValueError(f"is no image that can be read: {in_a_line(error)}") from error


def _decoded(data: bytes) -> Stored:
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
        bounded(*image.size)
        kind = image.format
        if kind == "PNG":
            image.verify()  # decoding would not check the checksums
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        image: PIL.Image.Image = opened
        if kind == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise ValueError("is an animation, must hold one image")
        orientation = image.getexif().get(ORIENTATION, 1)
        orientation = orientation if orientation in range(1, 9) else 1
        depth = data[24:26] if kind == "PNG" else b""
        if depth in DEEP_COLOURS:
            values = upright(imagecodecs.png_decode(data), orientation)
            return Stored(values, alpha=values.shape[-1] in (2, 4), orientation=orientation)
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa"):
            image = image.convert("RGB")
        if kind == "BMP" and image.mode == "RGB":
            return _of_four_bytes(data, np.asarray(image))
        bits = depth[0] if depth in FEW_BITS else 0
        return Stored(
            upright(np.asarray(image), orientation),
            palette=_palette(image) if image.mode in ("P", "PA") else None,
            alpha=image.mode in ("LA", "RGBA", "PA"),
            lossy=kind in ("JPEG", "MPO"),
            bits=bits,
            step=255 // (2**bits - 1) if bits else 1,
            orientation=orientation,
        )


def _palette(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """All colours of an indexed image with their opacity, [N, 4]."""
    colours = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    opacity = np.full((len(colours), 1), 255, np.uint8)
    given = cast("bytes | int | None", image.info.get("transparency"))
    if isinstance(given, int) and given < len(opacity):
        opacity[given] = 0
    elif isinstance(given, bytes):
        listed = np.frombuffer(given, np.uint8)[: len(opacity)]
        opacity[: len(listed), 0] = listed
    return np.hstack([colours, opacity])


def _of_four_bytes(data: bytes, colours_HW3: NDArray[np.uint8]) -> Stored:
    """A BMP in colours: some programs write transparency to the fourth byte of a pixel.

    Zero everywhere, the fourth byte has no meaning, unless one colour is all that is left.
    """
    first, (_, height), (bits, compression) = (
        struct.unpack_from(kind, data, at) for kind, at in (("<I", 10), ("<ii", 18), ("<HI", 28))
    )
    if bits != 32 or compression != 0:
        return Stored(colours_HW3)
    shape = (*colours_HW3.shape[:2], 4)
    fourth = np.frombuffer(data, np.uint8, shape[0] * shape[1] * 4, first[0]).reshape(shape)[..., 3]
    if not fourth.any() and (colours_HW3 != colours_HW3[0, 0]).any():
        return Stored(colours_HW3)
    upwards = fourth[::-1] if height > 0 else fourth
    return Stored(np.dstack([colours_HW3, upwards]), alpha=True)

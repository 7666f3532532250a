"""TIFF files of any depth: which page is the image, and what its samples mean."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from trainables.decoding.stored import Array, Stored, bounded, upright
from trainables.decoding.tree import in_a_line

READ = ("MINISWHITE", "MINISBLACK", "RGB", "PALETTE", "MASK", "SEPARATED")
"""Photometric interpretations whose samples are known as they are stored."""
LOSSY = ("OJPEG", "JPEG", "JPEG_LOSSY", "JPEGXR", "JPEG2000", "APERIO_JP2000_YCBC", "WEBP", "LERC")
"""Compressions that may change the values."""
ORIENTATION = 274
CONTIGUOUS = 1
ALIKE = 0.02
"""Relative difference of the aspect ratios of an image and a smaller version of it."""


def read_tiff(data: bytes) -> Stored:
    """The one image of a TIFF file.

    Raises:
        ValueError: the file is damaged, too large, holds several images, or samples in a colour
            space that is not read.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as opened:
            channels = _channel_pages(opened)
            if channels is not None:
                return channels
            page, notes = _page(opened)
            return _decoded(opened, page, notes)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"is no TIFF that can be read: {in_a_line(error)}") from error


def _channel_pages(opened: tifffile.TiffFile) -> Stored | None:
    """The image whose channels are pages, as ImageJ and OME declare it; None for any other file."""
    declared = opened.is_imagej or opened.is_ome or opened.is_shaped
    if not declared or len(opened.series) != 1 or opened.series[0].axes != "CYX":
        return None
    series: Any = opened.series[0]
    page: Any = series.keyframe
    channels, height, width = series.shape
    bounded(width, height * max(1, channels // 4))
    tag = page.tags.get(ORIENTATION)
    if PHOTOMETRIC(page.photometric).name != "MINISBLACK" or (tag and tag.value != 1):
        return None
    lossy = COMPRESSION(page.compression).name in LOSSY
    return Stored(np.moveaxis(series.asarray(), 0, -1), lossy=lossy)


def _page(opened: tifffile.TiffFile) -> tuple[Any, tuple[str, ...]]:
    """The page that is the image; smaller versions of it, and masks of pages, are left out.

    Raises:
        ValueError: there are several images.
    """
    pages: list[Any] = []
    for i in range(len(opened.pages)):
        page: Any = opened.pages[i]
        pages += [page, *(page.pages or ())]
    for page in pages:
        bounded(page.imagewidth, page.imagelength * max(1, page.samplesperpixel // 4))
    full = [p for p in pages if not p.is_reduced and not p.is_mask] or pages[:1]
    full.sort(key=lambda p: p.imagewidth * p.imagelength, reverse=True)
    largest, *others = full
    if others and not all(_smaller(largest, p) for p in others):
        sizes = ", ".join(f"{p.imagewidth} x {p.imagelength}" for p in full[:4])
        raise ValueError(f"holds {len(full)} pages ({sizes}), must hold one image")
    size = f"{largest.imagewidth} x {largest.imagelength}"
    first = pages[0]
    if first is largest and not others:
        return largest, ()
    left = ", ".join(f"{p.imagewidth} x {p.imagelength}" for p in pages if p is not largest)
    return largest, (f"holds {len(pages)} pages: that of {size} is read, those of {left} are not",)


def _smaller(page: Any, other: Any) -> bool:
    """Whether another page shows the same at fewer pixels, by its shape."""
    ratio = (page.imagewidth * other.imagelength) / (page.imagelength * other.imagewidth)
    rounding = 1 / min(other.imagewidth, other.imagelength)
    return other.imagewidth < page.imagewidth and abs(ratio - 1) <= max(ALIKE, rounding)


def _decoded(opened: tifffile.TiffFile, page: Any, notes: tuple[str, ...]) -> Stored:
    held = max((int(s.size) for s in opened.series if page in s.pages), default=0)
    if held > page.size:
        raise ValueError(f"holds {held // page.size} images in one page, must hold one image")
    if page.bitspersample < 8 and page.samplesperpixel > 1 and page.planarconfig == CONTIGUOUS:
        raise ValueError(
            f"has {page.samplesperpixel} samples of {page.bitspersample} bits side by side, which"
            " are not read: save it with 8 bits"
        )
    values: Array = page.asarray()
    if values.ndim not in (2, 3) or page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(
            f"is no TIFF that can be read: {page.bitspersample} bits a sample, axes {page.axes}"
        )
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    tag = page.tags.get(ORIENTATION)
    orientation = int(tag.value) if tag is not None and tag.value in range(1, 9) else 1
    compression = COMPRESSION(page.compression)
    photometric = PHOTOMETRIC(page.photometric).name
    samples = values.shape[2] if values.ndim == 3 else 1
    extra = [EXTRASAMPLE(e).name for e in page.extrasamples]
    alpha = samples > 1 and len(extra) > 0 and extra[-1] in ("ASSOCALPHA", "UNASSALPHA")
    if photometric == "YCBCR" and compression.name in ("JPEG", "OJPEG", "WEBP", "JPEG2000"):
        photometric = "RGB"  # the decoder converts it
    if photometric not in READ:
        raise ValueError(f"has samples in {photometric}, which is not read: save it as RGB or grey")
    if photometric == "SEPARATED":
        values, notes = _from_inks(values, page, alpha), (*notes, "is converted from CMYK to RGB")
    elif photometric == "RGB" and samples == 4 and not alpha and _opaque(values):
        values = values[:, :, :3]
        notes = (*notes, "has a fourth sample without a meaning, constant: left out")
    bits = page.bitspersample if values.dtype.kind == "u" else 0
    return Stored(
        upright(values, orientation),
        palette=_palette(page.colormap) if photometric == "PALETTE" else None,
        alpha=alpha,
        inverted=photometric == "MINISWHITE",
        numeric=opened.is_imagej or opened.is_shaped or _of_tifffile(page),
        lossy=compression.name in LOSSY,
        bits=0 if bits in (8, 16, 32, 64) else bits,
        orientation=orientation,
        notes=notes,
    )


def _of_tifffile(page: Any) -> bool:
    return str(page.software).startswith("tifffile")


def _opaque(values: Array) -> bool:
    most = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
    return bool((values[:, :, 3] == most).all())


def _palette(colormap: Array) -> NDArray[np.uint8]:
    """Colours [N, 4] of a colour map [3, N] of 16 bit; some programs write 8 bit there."""
    colours = colormap >> 8 if colormap.max() > 255 else colormap
    opaque = np.full((1, colormap.shape[1]), 255)
    return np.vstack([colours, opaque]).astype(np.uint8).T


def _from_inks(values: Array, page: Any, alpha: bool) -> Array:
    """RGB [H, W, 3], or RGBA, of cyan, magenta, yellow and black, each from 0, no ink, to its most.

    Raises:
        ValueError: the inks are others.
    """
    inks = values.shape[2] - alpha if values.ndim == 3 else 1
    inkset = page.tags.get(332)
    if inks != 4 or values.dtype.kind != "u" or (inkset is not None and inkset.value != 1):
        raise ValueError(f"has {inks} inks that are not CMYK, which are not read: save it as RGB")
    most = int(np.iinfo(values.dtype).max)
    light = most - values[:, :, :4].astype(np.float64)
    rgb = (light[:, :, :3] * light[:, :, 3:] / most).round().astype(values.dtype)
    return np.concatenate([rgb, values[:, :, 4:]], 2)

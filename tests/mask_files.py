"""Masks and images of a letter, as files of many kinds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from tests.broken import Array, folder
from tests.trees import png, put
from trainables.datasets import Raster, Source
from trainables.decoding.labels import Legend
from trainables.decoding.mask_files import read_labels
from trainables.decoding.tree import File

SIDE = 64
TWO = ("background", "foreground")
THREE = ("background", "liver", "vessel")
SEEN = np.random.default_rng(7).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)


def letter() -> Array:
    """An F, which no flip and no turn leaves as it is, on 7 % of the pixels."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[12:50, 20:24] = 1
    mask[12:16, 24:44] = 1
    mask[26:30, 24:36] = 1
    return mask


F = letter()
BLACK_WHITE = F * np.uint8(255)


def parted() -> Array:
    labels = F.copy()
    labels[40:50, 20:24] = 2
    return labels


def file(name: str, data: bytes) -> File:
    return File(name, len(data), "", lambda: data)


def read(suffix: str, data: bytes, classes: tuple[str, ...] = TWO) -> tuple[Array, str]:
    """The labels, and all notes."""
    found = read_labels(file(f"masks/a{suffix}", data), Legend(classes))
    return found.values, "; ".join(found.notes)


def tiff(values: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def pillow(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def indexed(
    values: Array, palette: list[tuple[int, ...]], kind: str = "PNG", **options: Any
) -> bytes:
    image = PIL.Image.fromarray(values).convert("L")
    image.putpalette([v for colour in palette for v in colour])
    return pillow(image, kind, **options)


def pairs(root: Path, masks: dict[str, bytes], images: dict[str, bytes] | None = None) -> Path:
    """A folder of images and these masks, by file name."""
    for i, (name, data) in enumerate(masks.items()):
        put(root / "masks" / name, data)
        if images is None:
            put(root / "images" / f"{Path(name).stem}.png", png(np.roll(SEEN, i, 0)))
    for name, data in (images or {}).items():
        put(root / "images" / name, data)
    return root


def rasters(root: Path, **fields: Any) -> list[Raster]:
    items = list(folder(root, **fields).scan())
    assert all(isinstance(i, Source) for i in items), items
    return [i.read() for i in items if isinstance(i, Source)]


def rgb(values: Array) -> Array:
    return np.repeat(values[:, :, None], 3, 2)

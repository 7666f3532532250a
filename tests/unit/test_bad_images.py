"""Bad images and masks: each is named with its rule; good ones keep every value."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import (
    GOOD,
    LABELS,
    MASK,
    PHOTO,
    Array,
    added,
    cut,
    flipped,
    folder,
    refused,
)
from tests.trees import jpeg, png, put, tif
from trainables.decoding.cache import forget, load

DEEP = np.random.default_rng(0).integers(0, 2**16, (24, 28, 3)).astype(np.uint16)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    yield
    forget()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of good pairs, whose names have spaces, quotes and letters of other languages."""
    trees.folder(tmp_path / "set", GOOD)
    return tmp_path / "set"


def tiff(values: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def tiff_head(side: int) -> bytes:
    """A TIFF that says it is so many pixels wide and high, and has none of them."""
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: side, 279: 0}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def png_of_16_bit(values: Array) -> bytes:
    """Colours of 16 bit, which Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = {
        b"IHDR": struct.pack(">II5B", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )


def turned(values: Array, orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return jpeg(values, exif=exif.tobytes())


def saved(kind: str, mode: str, **options: Any) -> bytes:
    """The photo in another mode of Pillow's."""
    out = io.BytesIO()
    PIL.Image.fromarray(PHOTO).convert(mode, **options).save(out, kind, quality=100)
    return out.getvalue()


FLOAT = PHOTO[..., 0].astype(np.float32)
NO_DEPTH = tiff(FLOAT).replace(
    struct.pack("<HHII", 258, 3, 1, 32), struct.pack("<HHII", 258, 3, 1, 3)
)


@pytest.mark.parametrize(
    ("suffix", "image", "rule"),
    [
        *((s, b"", "is empty") for s in (".png", ".jpg", ".tif", ".bmp")),
        *((s, b"no image at all", "image file|not a TIFF") for s in (".png", ".jpg", ".tif")),
        (".png", cut(0.5)(png(PHOTO)), "no image that can be read"),
        (".jpg", cut(0.5)(jpeg(PHOTO)), "runcated"),
        (".tif", cut(0.9)(tif(PHOTO)), "read"),
        (".tif", cut(0.7)(tiff(PHOTO, compression="zlib", photometric="rgb")), "read"),
        (".png", flipped(0.5)(png(PHOTO)), "no image that can be read"),
        (".tif", flipped(0.7)(tiff(PHOTO, compression="zlib", photometric="rgb")), "read"),
        (".tif", NO_DEPTH, "TIFF"),
        (".tif", tiff(np.where(LABELS > 0, np.nan, FLOAT)), f"{LABELS.sum()} NaN or inf"),
        (".tif", tiff(np.where(LABELS > 0, np.inf, FLOAT)), f"{LABELS.sum()} NaN or inf"),
        (".tif", tiff(np.stack([FLOAT, FLOAT]), photometric="minisblack"), "2 pages"),
        (".tif", tiff(FLOAT.astype(np.complex64)), "complex64"),
        (".jpg", turned(PHOTO, 6), "24 x 28 .* 28 x 24; its EXIF orientation turns it"),
    ],
)
def test_a_bad_image_is_named(root: Path, suffix: str, image: bytes, rule: str) -> None:
    refused(added(root, image, suffix), f"images/bad{suffix}", rule)


@pytest.mark.parametrize(
    ("mask", "rule"),
    [
        (png(LABELS[:-1]), "28 x 24 pixels but its mask masks/bad.png is 28 x 23"),
        (
            png(LABELS * 3),
            "masks/bad.png has mask values 3 that stand for no class; the classes are 0 b",
        ),
        (png(LABELS * 254), "masks/bad.png has mask values 254 that"),
        (png(PHOTO), "masks/bad.png is a mask in colours"),
        (b"", "masks/bad.png is empty"),
        (cut(0.5)(MASK), "masks/bad.png is no image that can be read"),
    ],
)
def test_a_bad_mask_is_named(root: Path, mask: bytes, rule: str) -> None:
    refused(added(root, png(PHOTO), mask=mask), "images/bad.png", rule)


@pytest.mark.parametrize(("suffix", "head"), [(".png", trees.huge_png), (".tif", tiff_head)])
def test_an_image_of_900_million_pixels_is_refused_from_its_header(
    root: Path, suffix: str, head: Callable[[int], bytes]
) -> None:
    dataset = added(root, head(30_000), suffix)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(dataset, f"images/bad{suffix}", "30000 x 30000|900000000 pixels")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB


def test_what_is_said_of_junk_has_no_address_of_memory(root: Path) -> None:
    put(root / "images" / "plain.jpg", b"no image at all")
    (problem,) = walk(folder(root)).problems
    assert "0x" not in problem.rule


@pytest.mark.parametrize(
    ("suffix", "data", "values"),
    [
        (".png", png(DEEP[..., 0]), DEEP[..., :1]),
        (".tif", tif(DEEP[..., 0]), DEEP[..., :1]),
        (".tif", tif(DEEP[..., 0].astype(">u2")), DEEP[..., :1]),
        (".tif", tif(DEEP[..., 0].astype(np.int16)), DEEP[..., :1].astype(np.int16)),
        (".tif", tif(DEEP), DEEP),
        (".png", png_of_16_bit(DEEP), DEEP),
    ],
)
def test_16_bit_images_keep_every_value_and_a_mix_with_8_bit_is_a_warning(
    root: Path, suffix: str, data: bytes, values: Array
) -> None:
    put(root / "images" / f"deep{suffix}", data)
    put(root / "masks" / "deep.png", MASK)
    dataset = folder(root, colour=values.shape[2] == 3)
    (pixels,) = (i.pixels for i in load(dataset).images if i.name == "deep")
    assert pixels.dtype == values.dtype
    np.testing.assert_array_equal(pixels, values.transpose(2, 0, 1))
    (problem,) = walk(dataset).problems
    assert (problem.file, problem.fatal) == (str(root), False)
    assert "are mixed" in problem.rule


@pytest.mark.parametrize(
    ("suffix", "data", "tolerance"),
    [
        (".jpg", saved("JPEG", "CMYK"), 8),
        (".png", png(np.dstack([PHOTO, LABELS])), 0),
        (".png", saved("PNG", "P", palette=PIL.Image.Palette.ADAPTIVE, colors=256), 24),
    ],
    ids=["CMYK", "RGBA", "palette"],
)
def test_other_colours_are_read_as_rgb(
    root: Path, suffix: str, data: bytes, tolerance: int
) -> None:
    put(root / "images" / f"other{suffix}", data)
    put(root / "masks" / "other.png", MASK)
    assert walk(folder(root)).problems == []
    (pixels,) = (i.pixels for i in load(folder(root)).images if i.name == "other")
    error = np.abs(pixels.transpose(1, 2, 0).astype(int) - PHOTO)
    assert error.mean() <= tolerance / 4
    assert np.percentile(error, 95) <= tolerance


def test_a_photo_is_turned_as_its_exif_says_and_fits_the_mask_drawn_on_it(root: Path) -> None:
    put(root / "images" / "turned.jpg", turned(PHOTO, 6))
    put(root / "masks" / "turned.png", png(np.rot90(LABELS, -1) * 255))
    (note,) = walk(folder(root)).problems
    assert (note.file, note.fatal) == ("images/turned.jpg", False)
    assert note.rule == "is turned as its orientation tag says, its mask is not"
    (image,) = (i for i in load(folder(root)).images if i.name == "turned")
    stored = np.asarray(PIL.Image.open(io.BytesIO(jpeg(PHOTO))))
    np.testing.assert_array_equal(image.pixels, np.rot90(stored, -1).transpose(2, 0, 1))
    np.testing.assert_array_equal(image.labels, np.rot90(LABELS, -1))


def test_a_photo_that_is_turned_is_told_where_masks_number_objects(root: Path) -> None:
    put(root / "images" / "turned.jpg", turned(PHOTO, 3))
    put(root / "masks" / "turned.png", png(LABELS))
    notes = [p for p in walk(folder(root, objects=True)).problems if "turned.jpg" in p.file]
    assert [n.rule for n in notes] == ["is turned as its orientation tag says, its mask is not"]


def test_a_photo_that_is_turned_to_the_same_size_is_told(root: Path) -> None:
    put(root / "images" / "upside.jpg", turned(PHOTO, 3))
    put(root / "masks" / "upside.png", MASK)
    (note,) = walk(folder(root)).problems
    assert (note.file, note.fatal) == ("images/upside.jpg", False)


def test_what_is_no_image_starts_no_other_program(root: Path) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    refused(
        added(root, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "bad.png", "no image"
    )


def test_small_targets_that_vanish_when_reduced_are_refused(tmp_path: Path) -> None:
    for i in range(6):
        dot = np.zeros((128, 128), np.uint8)
        dot[40 + i, 50] = 255
        put(tmp_path / "dots" / "images" / f"{i}.png", png(trees.photo(dot // 255, i)))
        put(tmp_path / "dots" / "masks" / f"{i}.png", png(dot))
    assert load(folder(tmp_path / "dots")).pixels["train"][1] == 4
    with pytest.raises(ValueError, match="has a pixel of foreground left at longest=16"):
        load(folder(tmp_path / "dots", longest=16))

"""Masks of every kind of file: the labels that were meant, or a refusal."""

from __future__ import annotations

import struct

import numpy as np
import PIL.Image
import pytest

from tests.broken import Array
from tests.mask_files import (
    BLACK_WHITE,
    SEEN,
    SIDE,
    THREE,
    TWO,
    F,
    file,
    indexed,
    parted,
    pillow,
    read,
    rgb,
    tiff,
)
from tests.trees import jpeg, png
from trainables.decoding.labels import Legend
from trainables.decoding.mask_files import read_labels, read_objects

IMAGEJ = {"photometric": "miniswhite"}
BW = PIL.Image.fromarray(BLACK_WHITE)
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
ADAPTIVE = PIL.Image.Palette.ADAPTIVE


@pytest.mark.parametrize(
    ("suffix", "data", "note"),
    [
        (".tif", tiff(BLACK_WHITE, **IMAGEJ), "its stored numbers are read"),
        (".tif", tiff(F, **IMAGEJ), "its stored numbers are read"),
        (".tif", tiff(BLACK_WHITE.astype(np.uint16), **IMAGEJ), "its stored numbers are read"),
        (".tif", tiff(BLACK_WHITE.astype(np.float32), **IMAGEJ), "its stored numbers are read"),
        (".tif", tiff(F.astype(bool), **IMAGEJ), "its stored numbers are read"),
        (".tif", tiff(BLACK_WHITE, **IMAGEJ, compression="jpeg"), "its stored numbers are read"),
        (".tif", pillow(PIL.Image.fromarray(F), "TIFF", tiffinfo={262: 0}), "its colours are read"),
        (".tif", pillow(BW.convert("1"), "TIFF", tiffinfo={262: 0}), "its colours are read"),
        (".tif", pillow(BW.convert("1"), "TIFF", compression="group4"), ""),
        *(
            (suffix, pillow(image, kind), "black and white: its colours are read")
            for suffix, kind in ((".png", "PNG"), (".bmp", "BMP"), (".tif", "TIFF"))
            for image in (
                BW.convert("RGB").quantize(2),
                BW.convert("P", palette=ADAPTIVE, colors=2),
                BW.convert("RGB").convert("P", palette=ADAPTIVE, colors=2),
            )
        ),
        (".png", pillow(BW.convert("P"), "PNG"), ""),
        (".tif", pillow(BW.convert("P"), "TIFF"), ""),
        (".png", indexed(F, VOC), ""),
        (".bmp", indexed(F, VOC, "BMP"), ""),
        (".tif", indexed(F, VOC, "TIFF"), ""),
        (".png", indexed(F, VOC, transparency=0), ""),
        (".png", png(np.dstack([rgb(np.full_like(F, 255)), BLACK_WHITE])), "transparency"),
        (".png", png(np.dstack([np.full_like(F, 255), BLACK_WHITE])), "transparency"),
        (".png", png(np.dstack([rgb(np.zeros_like(F)), BLACK_WHITE])), "transparency"),
        (".png", png(np.dstack([rgb(BLACK_WHITE), np.full_like(F, 255)])), ""),
        (".png", png(np.dstack([BLACK_WHITE, np.full_like(F, 255)])), ""),
        (".png", png(np.dstack([rgb(BLACK_WHITE), BLACK_WHITE])), ""),
        (".tif", tiff(np.dstack([rgb(BLACK_WHITE), np.full_like(F, 255)]), photometric="rgb"), ""),
        (
            ".tif",
            tiff(
                np.dstack([rgb(np.full_like(F, 255)), BLACK_WHITE]),
                photometric="rgb",
                extrasamples=["unassalpha"],
            ),
            "transparency",
        ),
        (".png", png(BLACK_WHITE.astype(np.uint16)), ""),
        (".png", png((F * np.uint16(65535)).astype(np.uint16)), ""),
        (".tif", tiff(BLACK_WHITE.astype(np.int32)), ""),
        (".tif", tiff(BLACK_WHITE.astype(np.float32)), ""),
        (".tif", tiff(F.astype(np.float32) * np.float32(0.9999999)), ""),
        (".jpg", jpeg(BLACK_WHITE), ""),
        (".jpg", jpeg(rgb(BLACK_WHITE)), ""),
        (".png", png(BLACK_WHITE), ""),
        (".bmp", pillow(BW, "BMP"), ""),
        (".bmp", pillow(BW.convert("1"), "BMP"), ""),
        (".png", pillow(BW.convert("1"), "PNG"), ""),
    ],
)
def test_a_mask_of_two_classes_is_read_as_it_was_meant(suffix: str, data: bytes, note: str) -> None:
    labels, notes = read(suffix, data)
    np.testing.assert_array_equal(labels, F)
    assert note in notes
    assert bool(note) == bool(notes) or suffix == ".jpg"


@pytest.mark.parametrize("white", [1, 255])
def test_a_look_up_table_of_imagej_changes_no_number(white: int) -> None:
    draws = np.random.default_rng(0)
    for table in (np.tile(np.arange(256)[::-1] * 257, (3, 1)), draws.integers(0, 2**16, (3, 256))):
        data = tiff(F * np.uint8(white), imagej=True, colormap=table.astype(np.uint16))
        np.testing.assert_array_equal(read(".tif", data)[0], F)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_pngs_of_few_bits_are_read_as_their_numbers(bits: int) -> None:
    labels, _ = read(".png", few_bits(parted(), bits), THREE)
    np.testing.assert_array_equal(labels, parted())
    labels, _ = read(".png", few_bits(F * np.uint8(2**bits - 1), bits))
    np.testing.assert_array_equal(labels, F)


def few_bits(values: Array, bits: int) -> bytes:
    """A grey PNG, which Pillow does not write so."""
    import zlib

    height, width = values.shape
    per = 8 // bits
    packed = np.zeros((height, width // per), np.uint8)
    for i in range(per):
        packed |= (values[:, i::per] << (8 - bits * (i + 1))).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = {
        b"IHDR": struct.pack(">II5B", width, height, bits, 0, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
        for k, d in chunks.items()
    )


@pytest.mark.parametrize(
    ("suffix", "data", "classes", "rule"),
    [
        (
            ".tif",
            pillow(BW, "TIFF", tiffinfo={262: 0}),
            TWO,
            r"foreground is 93.\d% by its numbers and 6.\d% by its colours",
        ),
        (
            ".png",
            indexed(F, [(255, 0, 0), (0, 0, 0)]),
            TWO,
            "palette .0 #ff0000, 1 #000000. in which index 0, the background, is not black",
        ),
        (".png", indexed(F, [(0, 200, 0), (255, 0, 0)]), TWO, "0 #00c800, 1 #ff0000"),
        (".png", indexed(F, [(255, 255, 255), (255, 0, 0)]), TWO, "0 #ffffff, 1 #ff0000"),
        (".png", indexed(F, [(255,) * 3, (128,) * 3]), TWO, "greys do not rise with the index"),
        (".png", indexed(F, [(128,) * 3, (0,) * 3]), TWO, "greys do not rise with the index"),
        (".png", indexed(BLACK_WHITE, [(255 - i,) * 3 for i in range(256)]), TWO, "both possible"),
        (".png", indexed(parted(), [(0,) * 3, (2,) * 3, (1,) * 3]), THREE, "both possible"),
        (
            ".png",
            indexed(F * np.uint8(200), [*VOC, *[(9, 8, 7)] * 252]),
            TWO,
            "indices 0, 200; the classes are 0 backgr",
        ),
        (
            ".png",
            png(np.dstack([rgb(BLACK_WHITE.T), BLACK_WHITE])),
            TWO,
            "colours and transparency .alpha. that differ",
        ),
        (".jpg", jpeg(F), TWO, "values 0 to [1-9]: it must be black .0. and white .255"),
        (".jpg", jpeg(parted() * np.uint8(127)), THREE, "3 classes need PNG or TIFF"),
        (".jpg", jpeg(SEEN), TWO, "mask in colours"),
        (".jpg", jpeg(SEEN[..., 0]), TWO, "must be black .0. and white .255"),
        (".tif", tiff(F * 0.5), TWO, "mask values 0.5 that"),
        (".tif", tiff(F * np.float64(0.98)), TWO, "mask values 0.98 that"),
        (".tif", tiff(F * np.float64(1.0212345678)), TWO, "mask values 1.0212345678 that"),
        (
            ".png",
            png(SEEN[..., 0]),
            TWO,
            "mask values 2, 3, 4, 5, 6, 7, 8, 9, ... .253 values. that",
        ),
        (".png", png(parted() * np.uint8(127)), TWO, "mask values 127, 254 that"),
        (".png", png(parted() * np.uint8(127)), THREE, "mask values 127, 254 that"),
        (
            ".tif",
            tiff(np.dstack([F, F * 0]), photometric="minisblack", planarconfig=1),
            TWO,
            "mask in colours",
        ),
    ],
)
def test_a_mask_that_may_mean_something_else_is_refused(
    suffix: str, data: bytes, classes: tuple[str, ...], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        read(suffix, data, classes)


def test_grey_edges_of_a_resampled_mask_are_cut_in_the_middle_with_their_share() -> None:
    small = PIL.Image.fromarray(BLACK_WHITE[::2, ::2])
    large = np.asarray(small.resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR))
    labels, notes = read(".png", png(large))
    share = float(((large > 0) & (large < 255)).mean())
    assert f"has {share:.2%} grey pixels between 0 and 255: cut in the middle" in notes
    assert (labels != F).mean() < 0.03


@pytest.mark.parametrize("width", [2, 12])
def test_a_border_or_a_region_of_one_grey_is_no_edge_of_a_resampled_mask(width: int) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:40, 10:40] = 127
    mask[10 + width : 40 - width, 10 + width : 40 - width] = 255
    with pytest.raises(ValueError, match="mask values 127, 255 that"):
        read(".png", png(mask))


def test_indices_whose_classes_were_given_are_read_whatever_their_colours() -> None:
    data = indexed(F, [(255, 255, 255), (255, 0, 0)])
    found = read_labels(file("a.png", data), Legend(TWO, ((0, TWO[0]), (1, TWO[1]))))
    np.testing.assert_array_equal(found.values, F)
    assert "has a palette (0 #ffffff, 1 #ff0000): its indices are read" in found.notes


def test_an_empty_mask_is_empty_in_every_kind_of_file() -> None:
    empty = np.zeros_like(F)
    image = PIL.Image.fromarray(empty)
    for suffix, data in (
        (".png", png(empty)),
        (".jpg", jpeg(empty)),
        (".tif", tiff(empty, photometric="miniswhite")),
        (".png", pillow(image.convert("RGB").quantize(2), "PNG")),
        (".png", indexed(empty, VOC)),
        (".png", png(np.dstack([rgb(empty), empty]))),
    ):
        assert not read(suffix, data)[0].any()
    with pytest.raises(ValueError, match="colours and transparency .alpha. that differ"):
        read(".png", png(np.dstack([rgb(np.full_like(F, 255)), empty])))


def test_a_class_map_of_more_than_two_classes_keeps_its_indices() -> None:
    for palette in (VOC, [(0, 0, 0), (128,) * 3, (255,) * 3]):
        labels, notes = read(".png", indexed(parted(), palette), THREE)
        np.testing.assert_array_equal(labels, parted())
        assert notes == ""


def test_numbers_of_objects_are_whole_within_a_tolerance_and_not_cut_off() -> None:
    numbers = np.zeros((SIDE, SIDE), np.float32)
    numbers[:8, :8], numbers[20:, 20:] = 0.99999, 2.001
    expected = np.zeros((SIDE, SIDE), np.int32)
    expected[:8, :8], expected[20:, 20:] = 1, 2
    np.testing.assert_array_equal(read_objects(file("a.tif", tiff(numbers))).values, expected)
    numbers[20:, 20:] = 1.5
    with pytest.raises(ValueError, match="has mask values 0, 1, 1.5, must be whole numbers from 0"):
        read_objects(file("a.tif", tiff(numbers)))

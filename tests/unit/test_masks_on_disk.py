"""Masks of every kind of file: the labels that were meant, or a refusal."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from orchestrator.diagnostics.dataset_check import walk
from tests.broken import Array, folder
from tests.trees import jpeg, png, put
from trainables.datasets import Raster, Source
from trainables.decoding.cache import forget, load
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


WAYS: dict[int, Callable[[Array], Array]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: np.rot90,
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""What is stored under each orientation, of an image as it is seen."""


@pytest.mark.parametrize("orientation", WAYS)
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_images_and_masks_are_turned_as_their_tags_say_and_a_difference_is_a_warning(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    def tagged(values: Array) -> bytes:
        stored = np.ascontiguousarray(WAYS[orientation](values))
        if suffix == ".tif":
            photometric = "rgb" if values.ndim == 3 else "minisblack"
            tag = (274, 3, 1, orientation, True)
            return tiff(stored, photometric=photometric, extratags=[tag])
        exif = PIL.Image.Exif()
        exif[274] = orientation
        kind = "PNG" if suffix == ".png" else "JPEG"
        return pillow(PIL.Image.fromarray(stored), kind, exif=exif.tobytes(), quality=95)

    bright = rgb(BLACK_WHITE)
    cases = {"both": (True, True), "image": (True, False), "mask": (False, True)}
    for name, (image, mask) in cases.items():
        put(
            tmp_path / f"images/{name}{suffix if image else '.png'}",
            (tagged if image else png)(bright),
        )
        masks = tmp_path / f"masks/{name}{suffix if mask else '.png'}"
        put(masks, (tagged if mask else png)(BLACK_WHITE))
    for source in folder(tmp_path).scan():
        assert isinstance(source, Source)
        raster = source.read()
        np.testing.assert_array_equal(raster.labels, F)
        assert ((raster.pixels[0] > 127) == (F > 0)).mean() > 0.995
        told = any("orientation tag" in note for note in raster.notes)
        assert told == (source.name != "both")


def test_the_tiff_page_that_is_the_image_is_read_and_a_thumbnail_is_not(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(BLACK_WHITE[::4, ::4], subfiletype=1)
        writer.write(BLACK_WHITE)
    labels, notes = read(".tif", out.getvalue())
    np.testing.assert_array_equal(labels, F)
    assert "holds 2 pages: that of 64 x 64 is read, those of 16 x 16 are not" in notes
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:  # nothing marks it
        writer.write(BLACK_WHITE[::4, ::4])
        writer.write(BLACK_WHITE)
    np.testing.assert_array_equal(read(".tif", out.getvalue())[0], F)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:  # a pyramid, as OME writes it
        writer.write(BLACK_WHITE, subifds=1)
        writer.write(BLACK_WHITE[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read(".tif", out.getvalue())[0], F)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(BLACK_WHITE[:, :40])
        writer.write(BLACK_WHITE)
    with pytest.raises(ValueError, match="holds 2 pages .64 x 64, 40 x 64., must hold one image"):
        read(".tif", out.getvalue())


def test_a_stack_in_one_page_is_no_image() -> None:
    stack = np.stack([BLACK_WHITE, BLACK_WHITE.T])
    for options, rule in (
        ({"imagej": True, "metadata": {"axes": "ZYX"}}, "must hold one image"),
        ({"metadata": {"axes": "ZYX"}, "truncate": True}, "must hold one image"),
        ({"imagej": True, "metadata": {"axes": "CYX"}}, "is a mask in colours"),
    ):
        with pytest.raises(ValueError, match=rule):
            read(".tif", tiff(stack, photometric="minisblack", **options))


CMYK = np.dstack([255 - SEEN, np.zeros((SIDE, SIDE), np.uint8)])
CMYK[:, :, 3] = 51


def seen(suffix: str, data: bytes, root: Path, **fields: Any) -> tuple[Array, str]:
    """An image as [H, W, C], and the notes."""
    (raster,) = rasters(pairs(root, {"a.png": png(BLACK_WHITE)}, {f"a{suffix}": data}), **fields)
    return raster.pixels.transpose(1, 2, 0), "; ".join(raster.notes)


def test_inks_become_colours_with_their_black(tmp_path: Path) -> None:
    expected = np.asarray(PIL.Image.fromarray(CMYK, "CMYK").convert("RGB")).astype(int)
    for i, scale in enumerate((np.uint8(1), np.uint16(257))):
        data = tiff(CMYK * scale, photometric="separated")
        pixels, notes = seen(".tif", data, tmp_path / str(i))
        assert np.abs(pixels / int(scale) - expected).max() <= 1
        assert notes == "is converted from CMYK to RGB"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_an_image_that_declares_0_to_be_white_is_inverted_within_its_type(
    tmp_path: Path, kind: type
) -> None:
    stored = SEEN[..., 0].astype(kind)
    data = tiff(stored, photometric="miniswhite")
    pixels, notes = seen(".tif", data, tmp_path, colour=False)
    if kind in (np.uint8, np.uint16):
        np.testing.assert_array_equal(pixels[..., 0], np.iinfo(kind).max - stored)
        assert notes == ""
    else:
        np.testing.assert_array_equal(pixels[..., 0], stored)
        assert "has no meaning for" in notes


@pytest.mark.parametrize("samples", [2, 4])
def test_only_what_the_file_calls_transparency_is_left_out(tmp_path: Path, samples: int) -> None:
    values = np.dstack([SEEN, SEEN[..., 0]])[..., :samples]
    put(tmp_path / "images" / "a.tif", tiff(values, photometric="minisblack", planarconfig=1))
    put(tmp_path / "masks" / "a.png", png(BLACK_WHITE))
    found = walk(folder(tmp_path, colour=samples == 4))
    assert any(
        f"1 have {samples}, images/a.tif; the data set has" in p.rule for p in found.problems
    )
    rgba = tiff(np.dstack([SEEN, BLACK_WHITE]), photometric="rgb", extrasamples=["assocalpha"])
    pixels, _ = seen(".tif", rgba, tmp_path / "alpha")
    np.testing.assert_array_equal(pixels, SEEN)


def test_a_colour_space_that_is_not_known_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.tif", tiff(SEEN, photometric="cielab"))
    put(tmp_path / "masks" / "a.png", png(BLACK_WHITE))
    (problem, *_) = walk(folder(tmp_path)).problems
    assert any("CIELAB, which is not read" in p.rule for p in walk(folder(tmp_path)).problems)
    assert problem.fatal


def test_loading_says_once_that_masks_have_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    inverting = tiff(BLACK_WHITE, photometric="miniswhite")
    root = pairs(tmp_path / "set", {f"{i}.tif": inverting for i in range(5)})
    for _ in range(2):
        forget()
        load(folder(root))
    error = capsys.readouterr().err
    assert error.count("5 images have warnings, such as images/0.png: its mask masks/0.tif") == 1
    assert "its stored numbers are read as labels; `segprint data check` lists them" in error

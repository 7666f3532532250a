"""Images as files: orientation, pages, inks, white and transparency."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from orchestrator.diagnostics.dataset_check import walk
from tests.broken import Array, folder
from tests.mask_files import BLACK_WHITE, SEEN, SIDE, F, pairs, pillow, rasters, read, rgb, tiff
from tests.trees import png, put
from trainables.datasets import Source
from trainables.decoding.cache import forget, load

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

"""Random labels through every way to write them: the same labels come back, or a refusal."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import nibabel
import numpy as np
import PIL.Image
import tifffile
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st

from tests.broken import Array
from trainables.decoding.labels import Legend, to_labels
from trainables.decoding.mask_files import read_labels
from trainables.decoding.tree import File
from trainables.decoding.volumes import read_voxels

Draw = Callable[[st.SearchStrategy[Any]], Any]
STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: np.rot90,
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""What is stored under each orientation tag."""
TYPES = ("?", "u1", "u2", "u4", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


class Written(NamedTuple):
    suffix: str
    data: bytes
    way: str


def labels_of(draw: Draw, classes: int, dimensions: int = 2) -> Array:
    shape = tuple(draw(st.integers(1, 12)) for _ in range(dimensions))
    draws = np.random.default_rng(draw(st.integers(0, 2**16)))
    least, most = sorted(draw(st.tuples(*[st.integers(0, classes - 1)] * 2)))
    return draws.integers(least, most + 1, shape).astype(np.uint8)


def palette_of(draw: Draw, values: Array) -> tuple[Array, list[int], str]:
    """Indices, a flat palette, and what it is."""
    kind = draw(st.sampled_from(["voc", "random", "grey", "black and white", "white and black"]))
    if kind == "white and black":  # the colours are what was meant
        return 1 - (values > 0), [255, 255, 255, 0, 0, 0], kind
    if kind == "black and white":
        return (values > 0) * 1, [0, 0, 0, 255, 255, 255], kind
    if kind == "voc":
        return values, [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128], kind
    if kind == "grey":
        greys = draw(st.permutations([0, 64, 128, 192, 255]))
        return values, [v for g in greys for v in (g, g, g)], kind
    return values, draw(st.lists(st.integers(0, 255), min_size=15, max_size=15)), kind


def pillow(draw: Draw, labels: Array, white: int) -> Written:
    values = (labels * white).astype(np.uint8)
    modes = ["L", "I", "F", "I;16", "LA", "RGB", "RGBA", "P", "alpha", "quantized"]
    mode = draw(st.sampled_from([*modes, "1"] if white == 255 else modes))
    orientation = draw(st.sampled_from(list(STORED)))
    values = np.ascontiguousarray(STORED[orientation](values))
    image = PIL.Image.fromarray(values)
    if mode == "P":
        indices, palette, mode = palette_of(draw, values if white == 1 else values // 255)
        image = PIL.Image.fromarray(indices.astype(np.uint8))
        image.putpalette(palette)
    elif mode == "alpha":
        colour = PIL.Image.new("RGB", image.size, draw(st.sampled_from(["white", "black", "red"])))
        colour.putalpha(image)
        image = colour
    elif mode == "quantized":
        image = image.convert("RGB").quantize(draw(st.integers(2, 256)))
    elif mode == "I;16":
        image = PIL.Image.fromarray(values.astype(np.uint16))
    else:
        image = image.convert(mode)
    kind = draw(st.sampled_from(["PNG", "BMP", "TIFF"]))
    if kind == "BMP" and image.mode in ("I", "F", "I;16", "LA"):
        kind = "TIFF"
    if kind == "PNG" and image.mode == "F":
        kind = "TIFF"
    options: dict[str, Any] = {}
    exif = PIL.Image.Exif()
    exif[274] = orientation
    if kind == "PNG":
        options["exif"] = exif.tobytes()
    elif kind == "TIFF":
        compression = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]
        if image.mode == "1":
            compression += ["group3", "group4"]
        options["compression"] = draw(st.sampled_from(compression))
        options["tiffinfo"] = {274: orientation}
        if draw(st.booleans()) and image.mode in ("1", "L"):
            options["tiffinfo"][262] = 0
    elif orientation != 1:
        return pillow(draw, labels, white)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return Written(f".{kind[:4].lower()}", out.getvalue(), f"{mode} {kind} {options}")


def tiff(draw: Draw, labels: Array, white: int) -> Written:
    kind = draw(st.sampled_from(TYPES if labels.max() < 2 else TYPES[1:]))
    most = 1 if kind == "?" or kind[0] == "f" else np.iinfo(kind).max
    scale = draw(st.sampled_from([1, 255, most])) if white == 255 else 1
    if most < 255:
        scale = min(scale, most)
    orientation = draw(st.sampled_from(list(STORED)))
    stored = np.ascontiguousarray(STORED[orientation](labels))
    values = (stored.astype("u8") * scale).astype(kind)
    options: dict[str, Any] = {
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "compression": draw(st.sampled_from([None, "zlib", "lzw", "packbits", "zstd"])),
        "extratags": [(274, 3, 1, orientation, True)],
        "photometric": draw(st.sampled_from(["minisblack", "miniswhite", "rgb", "palette"])),
    }
    if kind == "?":
        options["compression"] = None
    if options["photometric"] == "palette":
        if kind not in ("u1", "u2"):
            options["photometric"] = "minisblack"
        else:
            draws = np.random.default_rng(draw(st.integers(0, 99)))
            colormap = draws.integers(0, 2**16, (3, 2 ** (8 * values.itemsize))).astype("u2")
            colormap[:, 0] *= draw(st.integers(0, 1))
            options["colormap"] = colormap
    elif options["photometric"] == "rgb":
        samples = draw(st.sampled_from([3, 4]))
        values = np.repeat(values[:, :, None], samples, 2)
        if samples == 4:
            values[:, :, 3] = draw(st.sampled_from([0, 1, most]))
            options["extrasamples"] = [draw(st.sampled_from(["unassalpha", "unspecified"]))]
        if draw(st.booleans()):
            values, options["planarconfig"] = np.moveaxis(values, -1, 0).copy(), "separate"
    out = io.BytesIO()
    with tifffile.TiffWriter(
        out, byteorder=options.pop("byteorder"), bigtiff=options.pop("bigtiff")
    ) as writer:
        if draw(st.booleans()):
            writer.write(np.zeros((1, 1), np.uint8), subfiletype=1)
        writer.write(values, **options)
    options.pop("colormap", None)
    return Written(".tif", out.getvalue(), f"{kind} {options}")


def nifti(draw: Draw, labels: Array, white: int) -> Written:
    kind = draw(st.sampled_from(("u1", "i2", "i4", "u2", "f4", "f8")))
    cls: Any = draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]))
    header: Any = cls.header_class(endianness=draw(st.sampled_from("<>")))
    header.set_data_dtype(kind)
    image = cls(labels.astype(draw(st.sampled_from(["u1", "f4", "f8"]))) * white, np.eye(4), header)
    if draw(st.booleans()):
        image = cls((labels * white).astype("i2"), np.eye(4), header)
    turned = draw(st.permutations([0, 1, 2]))
    flips = [draw(st.sampled_from([1, -1])) for _ in range(3)]
    image = image.as_reoriented(np.array([*zip(turned, flips, strict=True)], float))
    data = image.to_bytes()
    if draw(st.booleans()):
        return Written(".nii.gz", gzip.compress(data), f"{kind} {cls}")
    return Written(".nii", data, f"{kind} {cls}")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_an_image_of_labels_comes_back_as_it_was_written_or_is_refused(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 5))
    white = data.draw(st.sampled_from([1, 255])) if classes == 2 else 1
    labels = labels_of(data.draw, classes)
    write = data.draw(st.sampled_from([pillow, tiff]))
    try:
        written: Written = write(data.draw, labels, white)
    except (OSError, ValueError, tifffile.TiffFileError):
        reject()  # the writer offers no such file
    if "black" in written.way.split(" P")[0].split(" T")[0].split(" B")[0]:
        labels, classes = (labels > 0).astype(np.uint8), 2  # two colours hold no more
    names = tuple("abcde"[:classes])
    file = File(f"a{written.suffix}", len(written.data), "", lambda: written.data)
    try:
        found = read_labels(file, Legend(names)).values
    except ValueError:
        event("refused")
        return
    event("read")
    np.testing.assert_array_equal(found, labels, written.way)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_volume_of_labels_comes_back_as_it_was_written_or_is_refused(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 5))
    white = data.draw(st.sampled_from([1, 255])) if classes == 2 else 1
    labels = labels_of(data.draw, classes, 3)
    written = nifti(data.draw, labels, white)
    file = File(f"a{written.suffix}", len(written.data), "", lambda: written.data)
    try:
        found = to_labels(read_voxels(file).values, Legend(tuple("abcde"[:classes])))
    except ValueError:
        event("refused")
        return
    event("read")
    np.testing.assert_array_equal(found, labels, written.way)

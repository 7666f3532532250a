"""Bad files: each is named with the rule that it breaks, and all others are read all the same."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import resource
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from orchestrator.inspect import Found, walk
from tests import trees
from tests.conftest import Segprint
from tests.trees import jpeg, png, put, tif
from trainables.datasets import Dataset, Located
from trainables.datasets.folder import Folder
from trainables.datasets.isic16 import ISIC16
from trainables.datasets.medsegbench import MedSegBench
from trainables.datasets.monuseg import MoNuSeg
from trainables.datasets.nifti import NIfTI
from trainables.part import Location
from trainables.reading.cache import forget, load

Array = np.ndarray[Any, Any]
Change = Callable[[bytes], bytes]

GOOD = 10
"""Pairs of a folder to which a bad one is added."""
LABELS = (trees.blobs(24, 28, 1, 1) > 0).astype(np.uint8)
MASK = png(LABELS * 255)
PHOTO = trees.photo(LABELS, 1)
DEEP = np.random.default_rng(0).integers(0, 2**16, (24, 28, 3)).astype(np.uint16)
CASE, TRUTH = "imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz"
TABLE = "metadata.csv"
XML = "MoNuSeg 2018 Training Data/Annotations/TCGA-A7-A13E-01Z-00-DX1.xml"


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


def folder(root: Path, **fields: Any) -> Folder:
    return Folder(at=Location(str(root)), **fields)


def added(root: Path, image: bytes, suffix: str = ".png", *, mask: bytes = MASK) -> Folder:
    """The folder with a pair named bad."""
    put(root / "images" / f"bad{suffix}", image)
    put(root / "masks" / "bad.png", mask)
    return folder(root)


def images(found: Found) -> int:
    return sum(row["images"] for row in found.splits)


def refused(dataset: Dataset, file: str, rule: str, remaining: int = GOOD) -> None:
    """The walk names file and rule in one line and reads the rest; loading names the file."""
    found = walk(dataset)
    lines = [str(p) for p in found.problems if p.fatal]
    assert any(file in line and re.search(rule, line) for line in lines), lines
    assert not [line for line in lines if len(line.splitlines()) != 1]
    assert images(found) == remaining
    with pytest.raises(ValueError, match=re.escape(file)):
        load(dataset)


def flipped(at: float) -> Change:
    """One byte turned into another, after a share of the file."""

    def change(data: bytes) -> bytes:
        i = int(at * len(data))
        return data[:i] + bytes([data[i] ^ 255]) + data[i + 1 :]

    return change


def cut(share: float) -> Change:
    return lambda data: data[: int(share * len(data))]


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
        (png(LABELS[:-1]), "28 x 24 pixels but its mask is 28 x 23"),
        (png(LABELS * 3), "masks/bad.png has mask values 0, 3; the classes are 0 background, 1 f"),
        (png(LABELS * 254), "masks/bad.png has mask values 0, 254"),
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


def _add(*paths: str, **links: str) -> Callable[[Path], None]:
    """More images and masks, and links among the images."""

    def change(root: Path) -> None:
        for name, target in links.items():
            os.symlink(target, root / "images" / name)
        for path in paths:
            put(root / path, MASK if path.startswith("masks") else png(PHOTO))

    return change


@pytest.mark.parametrize(
    ("change", "file", "rule"),
    [
        (_add("images/bad.png"), "images/bad.png", "has no mask"),
        (_add("masks/bad.png"), "masks/bad.png", "has no image"),
        (_add("images/b.png", "images/b.jpg", "masks/b.png"), "images/b.jpg", "stem as images/b."),
        (_add("images/b.png", "masks/b.png", "masks/b.tif"), "images/b.png", "has 2 masks"),
        (_add(up=".."), "images/up", "link to a folder that it lies in"),
        (_add(itself="itself"), "images/itself", "is a link to nothing"),
        (_add(bad="nowhere"), "images/bad", "is a link to nothing"),
        (lambda root: os.mkfifo(root / "images" / "bad.png"), "images/bad.png", "neither a file"),
        (_add("masks/bad.png", **{"bad.png": "/proc/self/mem"}), "images/bad.png", "be read"),
        (lambda root: put(root / "more.zip", b"PK, but no more"), "more.zip", "no zip archive"),
    ],
)
def test_what_cannot_be_a_pair_is_named(
    root: Path, change: Callable[[Path], None], file: str, rule: str
) -> None:
    change(root)
    refused(folder(root), file, rule)


@pytest.mark.parametrize(
    ("name", "shown"), [(b"bad\xff.png", r"bad\udcff.png"), (b"bad\nname.png", r"bad\nname.png")]
)
def test_a_file_name_that_cannot_be_printed_is_shown_escaped(
    root: Path, name: bytes, shown: str
) -> None:
    (root / "images" / os.fsdecode(name)).write_bytes(png(PHOTO))
    refused(folder(root), f"images/{shown}", "not printable UTF-8")


@contextmanager
def _without_privilege() -> Iterator[None]:
    """As a user who may read only what is readable."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("path", "remaining", "rule"),
    [("images/plain.jpg", GOOD - 1, "Permission denied"), ("images/more", GOOD, "be listed")],
)
def test_a_file_or_folder_without_permission_is_named(path: str, remaining: int, rule: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        trees.folder(root, GOOD)
        (root / "images" / "more").mkdir()
        assert not walk(folder(root)).broken
        (root / path).chmod(0)
        with _without_privilege():
            found = walk(folder(root))
        (root / path).chmod(0o755)
    (problem,) = found.problems
    assert (problem.file, problem.fatal) == (path, True)
    assert rule in problem.rule
    assert images(found) == remaining


def test_names_with_spaces_quotes_and_letters_of_any_language_are_read(root: Path) -> None:
    assert walk(folder(root)).problems == []
    names = {"plain", "with space", "it's", 'say "hi"', "Läsion Ñ", "病变", "a.b.c"}
    assert names <= {image.name for image in load(folder(root)).images}


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
def test_a_place_without_files_is_named_with_how_to_get_them(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "set" / "images").mkdir(parents=True)
    dataset = folder(tmp_path / "set")
    (problem,) = walk(dataset).problems
    hint = "segprint data get folder"
    assert problem.file == str(tmp_path / "set")
    assert hint in problem.rule
    with pytest.raises(FileNotFoundError, match=hint):
        load(dataset)


def test_masks_that_are_all_empty_are_refused_and_a_single_one_is_counted(root: Path) -> None:
    masks = sorted((root / "masks").iterdir())
    put(masks[0], png(np.zeros((48, 56), np.uint8)))
    found = walk(folder(root))
    assert not found.broken
    assert sum(row["empty"] for row in found.splits) == 1
    for mask in masks:
        put(mask, png(np.zeros((48, 56), np.uint8)))
    refused(folder(root), "train", "no mask of this split has a pixel of foreground")


@pytest.mark.parametrize(
    ("change", "file", "rule", "remaining"),
    [
        (lambda d: d.replace(b"name,", b"file,"), "split.csv", "has columns file, patient", GOOD),
        (lambda d: d.replace(b",val", b",vla"), "split.csv", "line 3: unknown .* 'val'", GOOD),
        (lambda d: d + b"plain,P5,train", "split.csv", "line 12: plain is there twice", GOOD),
        (lambda d: d + b"x,P,val", "split.csv", "names x, of which there is no pair", GOOD),
        (lambda d: d.partition(b"plain")[0], "images/plain.jpg", "is not in split.csv", 6),
        (lambda d: d.replace(b"P9", b"P0"), "images/", "P0 is in two splits: train, and", GOOD),
        (cut(0), "split.csv", "is empty", GOOD),
        (lambda d: b"\xff\xfe" + d, "split.csv", "must be UTF-8", GOOD),
        (lambda d: d + b'"' + b"b,P,val\n" * 20000, "split.csv", "split.csv", GOOD),
    ],
)
def test_a_bad_split_file_is_named(
    root: Path, change: Change, file: str, rule: str, remaining: int
) -> None:
    out = io.StringIO()
    stems = sorted(p.stem for p in (root / "masks").iterdir())
    splits = ["test", "val", *["train"] * (GOOD - 2)]
    rows = zip(stems, (f"P{i}" for i in range(GOOD)), splits, strict=True)
    csv.writer(out, lineterminator="\n").writerows([("name", "patient", "split"), *rows])
    put(root / "split.csv", out.getvalue().encode())
    assert walk(folder(root)).problems == []
    put(root / "split.csv", change(out.getvalue().encode()))
    refused(folder(root), file, rule, remaining)


def _isic16_with_a_table(root: Path) -> None:
    """The official folders, and a CSV of something else beside them."""
    trees.isic16(root)
    put(root / TABLE, b"name,age\n")


def _member(*fields: tuple[int, str, int]) -> Change:
    """Fields of the first entry of an archive's directory: offset, format, value."""

    def change(data: bytes) -> bytes:
        changed, at = bytearray(data), data.index(b"PK\1\2")
        for offset, kind, value in fields:
            struct.pack_into(kind, changed, at + offset, value)
        return bytes(changed)

    return change


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (_member((16, "<I", 1)), "more.zip/x/images/q.png"),  # its checksum
        (_member((24, "<I", 20)), "more.zip/x/images/q.png"),  # its size
        (_member((20, "<I", 9000), (24, "<I", 9000)), "more.zip/x/images/q.png"),
        (_member((8, "<H", 1)), "more.zip/x/images/q.png"),  # encrypted
        (_member((10, "<H", 99)), "more.zip/x/images/q.png"),  # an unknown method
        (_member((6, "<B", 99)), "more.zip"),  # a version that is not known
        (_member((8, "<H", 0x800), (46, "<B", 255)), "more.zip"),  # a name that is not UTF-8
        (cut(0.9), "more.zip"),
    ],
)
def test_a_damaged_archive_or_member_is_named(root: Path, change: Change, file: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/images/q.png", png(PHOTO))
        archive.writestr("x/masks/q.png", MASK)
    put(root / "more.zip", out.getvalue())
    assert images(walk(folder(root))) == GOOD + 1
    put(root / "more.zip", change(out.getvalue()))
    refused(folder(root), file, "read")


def _entities(declared: str, used: str) -> Change:
    doctype = f'<?xml version="1.0"?><!DOCTYPE Annotations [{declared}]>'.encode()
    return lambda data: (
        doctype + data.partition(b"?>")[2].replace(b"<Plots/>", f"<Plots>{used}</Plots>".encode())
    )


LAUGHS = '<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)
)


def _with(array: Any) -> Change:
    """Other training images in an .npz."""

    def change(data: bytes) -> bytes:
        out = io.BytesIO()
        with np.load(io.BytesIO(data)) as archive:
            np.savez(out, **{**archive, "train_images": array})
        return out.getvalue()

    return change


def _volume(values: Array) -> Change:
    return lambda _: trees.volume(values)


OUTLINES = [
    (_entities(LAUGHS, "&a9;"), "no XML that can be read"),
    (_entities('<!ENTITY e SYSTEM "file:///etc/passwd">', "&e;"), "no XML that can be read"),
    (lambda data: data.replace(b"UTF-8", b"bogus"), "no XML that can be read"),
    (cut(0.5), "no XML that can be read"),
    (cut(0), "is empty"),
    (lambda data: re.sub(rb'X="[^"]+"', b'X="left"', data, count=1), "X='left' .* two numbers"),
    (lambda data: re.sub(rb'Y="[^"]+"', b'Y="nan"', data, count=1), "Y='nan', must be two"),
    (lambda data: re.sub(rb'Y="[^"]+"', b"", data, count=1), "Y=None, must be two numbers"),
]
VOLUMES = [
    *((file, cut(0), r"is empty") for file in (CASE, TRUTH)),
    *((file, cut(0.5), "no gzip file") for file in (CASE, TRUTH)),
    *((file, flipped(0.5), "no gzip file") for file in (CASE, TRUTH)),
    (CASE, lambda _: gzip.compress(b"short"), "NIfTI"),
    (CASE, lambda _: gzip.compress(bytes(1000)), "NIfTI"),
    (CASE, lambda data: gzip.compress(cut(0.5)(gzip.decompress(data))), "NIfTI"),
    (CASE, _volume(np.zeros((40, 44), np.int16)), "2 dimensions"),
    (CASE, _volume(np.full((40, 44, 8), np.nan, np.float32)), "NaN"),
    (TRUTH, _volume(np.zeros((40, 44, 9), np.uint8)), r"44, 8\) .* 44, 9\)"),
    (TRUTH, _volume(np.full((40, 44, 8), 2, np.uint8)), "mask values 2"),
]
ARRAYS = [
    (cut(0.9), "npz", 0),
    (cut(0), "empty", 0),
    (flipped(0.2), "npz", 5),
    (_with(np.array([print] * 6, object)[:, None, None]), "allow_pickle=False", 5),
    (_with(np.zeros((4, 256, 256), np.uint8)), "of one length", 5),
    (_with(np.uint8(1)), "npz", 0),
]


@pytest.mark.parametrize(
    ("cls", "file", "change", "rule", "remaining"),
    [
        *((MoNuSeg, XML, *case, 7) for case in OUTLINES),
        *((NIfTI, *case, 32) for case in VOLUMES),
        *((MedSegBench, "busi_256.npz", *case) for case in ARRAYS),
        (ISIC16, TABLE, cut(0), "empty", 9),
        (ISIC16, TABLE, lambda _: b'img,seg\n"' + b"a.jpg,a.png\n" * 20000, "csv", 9),
    ],
)
def test_a_damaged_file_of_an_official_layout_is_named(
    tmp_path: Path, cls: type[Located], file: str, change: Change, rule: str, remaining: int
) -> None:
    root = tmp_path / "set"
    write = {MoNuSeg: partial(trees.monuseg, zipped=False), ISIC16: _isic16_with_a_table}
    write.get(cls, trees.WRITERS[cls.__module__.rpartition(".")[2]])(root)
    put(root / file, change((root / file).read_bytes()))
    refused(cls(at=Location(str(root))), file, rule, remaining)


def test_outlines_of_fewer_than_three_points_are_left_out_with_a_warning(tmp_path: Path) -> None:
    trees.monuseg(tmp_path / "set", zipped=False)
    before = load(MoNuSeg(at=Location(str(tmp_path / "set"))))
    polygons = trees.nuclei_of(0)
    short: list[list[tuple[float, float]]] = [[(5, 5)], [(50, 50), (80, 80)]]
    put(tmp_path / "set" / XML, trees.aperio([*polygons, *short]))
    forget()
    found = walk(MoNuSeg(at=Location(str(tmp_path / "set"))))
    said = [(p.fatal, p.rule) for p in found.problems]
    first = len(polygons) + 1
    assert said == [
        (False, f"region {first} has 1 vertices and is left out: no polygon"),
        (False, f"region {first + 1} has 2 vertices and is left out: no polygon"),
    ]
    assert images(found) == 8
    after = load(MoNuSeg(at=Location(str(tmp_path / "set"))))
    assert after.content_hash == before.content_hash


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
    ("kind", "window"),
    [
        (np.int16, {}),
        (np.int16, {"window_low": -1e6, "window_high": 1e6}),
        (np.uint16, {"window_low": -160.0}),
    ],
)
def test_volumes_of_16_bit_keep_every_value_within_the_window(
    tmp_path: Path, kind: type, window: dict[str, float]
) -> None:
    trees.nifti(tmp_path / "set", 4)
    voxels = np.arange(-1024, -1024 + 40 * 44 * 8).reshape(40, 44, 8).astype(kind)
    put(tmp_path / "set" / "imagesTr" / "case_000_0000.nii.gz", trees.volume(voxels))
    loaded = load(NIfTI(at=Location(str(tmp_path / "set")), **window))
    slices = [i.pixels for i in loaded.images if "case_000" in i.name]
    assert {s.dtype for s in slices} == {np.dtype(kind)}
    assert np.array_equal(np.sort(np.ravel(slices)), np.sort(voxels.ravel()))


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
    assert walk(folder(root)).problems == []
    (image,) = (i for i in load(folder(root)).images if i.name == "turned")
    stored = np.asarray(PIL.Image.open(io.BytesIO(jpeg(PHOTO))))
    np.testing.assert_array_equal(image.pixels, np.rot90(stored, -1).transpose(2, 0, 1))
    np.testing.assert_array_equal(image.labels, np.rot90(LABELS, -1))


@pytest.mark.slow
def test_a_hundred_thousand_files_are_all_read(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for i in range(50_000):
        image = np.full((8, 8), i % 251, np.uint8)
        image.flat[:4] = list(i.to_bytes(4))
        put(root / "images" / f"{i}.png", png(image))
        put(root / "masks" / f"{i}.png", MASK if i == 7 else png(np.eye(8, dtype=np.uint8)))
    found = walk(folder(root, colour=False))
    assert images(found) == 49_999
    assert [p.file for p in found.problems] == ["images/7.png"]


def test_the_check_names_what_is_bad_and_its_exit_code_says_so(
    segprint: Segprint, root: Path
) -> None:
    good = segprint("data", "check", str(root))
    assert (good.returncode, good.stderr) == (0, "")
    put(root / "images" / "plain.jpg", b"")
    bad = segprint("data", "check", str(root))
    assert bad.returncode == 1
    (line,) = (line for line in bad.stdout.splitlines() if "images/plain.jpg" in line)
    assert "is empty (0 bytes)" in line
    unknown = segprint("data", "check", "foldr")
    assert unknown.returncode == 2
    assert "did you mean 'folder'? (choices: brain, " in unknown.stderr

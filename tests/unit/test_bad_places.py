"""Bad places, names, pairs, splits and archives: each is named, the rest is read."""

from __future__ import annotations

import csv
import io
import os
import struct
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import (
    GOOD,
    MASK,
    PHOTO,
    Change,
    cut,
    folder,
    images,
    refused,
)
from tests.conftest import Segprint
from tests.trees import png, put
from trainables.datasets.isic16 import ISIC16
from trainables.decoding.cache import forget, load
from trainables.part import Location


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


@pytest.mark.slow
@pytest.mark.cluster
def test_a_hundred_thousand_files_are_all_read(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for i in range(50_000):
        image = np.full((8, 8), i % 251, np.uint8)
        image.flat[:4] = list(i.to_bytes(4))
        put(root / "images" / f"{i}.png", png(image))
        put(root / "masks" / f"{i}.png", MASK if i == 7 else png(np.eye(8, dtype=np.uint8)))
    found = walk(folder(root, colour=False))
    assert images(found) == 49_999
    bad, same, scattered = found.problems
    assert [p.fatal for p in found.problems] == [True, False, False]
    assert bad.file == "images/7.png"
    assert "49999 images have the same mask" in str(same)
    assert "masks are scattered single pixels" in str(scattered)


def test_the_check_names_what_is_bad_and_its_exit_code_says_so(
    inline: Segprint, root: Path
) -> None:
    good = inline("data", "check", str(root))
    assert (good.returncode, good.stderr) == (0, "")
    put(root / "images" / "plain.jpg", b"")
    bad = inline("data", "check", str(root))
    assert bad.returncode == 1
    (line,) = (line for line in bad.stdout.splitlines() if "images/plain.jpg" in line)
    assert "is empty (0 bytes)" in line
    unknown = inline("data", "check", "foldr")
    assert unknown.returncode == 2
    assert "did you mean 'folder'? (choices: brain, " in unknown.stderr


def test_a_row_of_the_split_file_is_never_taken_for_two_images(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "val", "test"):
        for i in range(2):
            put(root / split / "images" / f"{i:03d}.png", png(PHOTO + i))
            put(root / split / "masks" / f"{i:03d}.png", MASK)
    put(root / "split.csv", b"name,split\n000,train\n001,train\n")
    found = [p.rule for p in walk(folder(root)).problems if "as well" in p.rule]
    assert found[0].startswith("split.csv says 000, which is test/000 as well; it must say")


def test_an_archive_beside_its_unpacked_files_is_read_once(tmp_path: Path) -> None:
    trees.isic16(tmp_path / "isic16")
    trees.isic16(tmp_path / "isic16", zipped=True)
    found = walk(ISIC16(at=Location(str(tmp_path / "isic16")), size=16))
    assert found.problems == []
    assert images(found) == 9


def test_odd_spaces_are_part_of_a_name(root: Path) -> None:
    name = "Screenshot 3.14\u202fPM\u00a0(1)"
    put(root / "images" / f"{name}.png", png(PHOTO))
    put(root / "masks" / f"{name}.png", MASK)
    assert images(walk(folder(root))) == GOOD + 1


def test_names_that_computers_compose_differently_are_the_same_name(root: Path) -> None:
    put(root / "images" / unicodedata.normalize("NFC", "Märzé.png"), png(PHOTO))
    put(root / "masks" / unicodedata.normalize("NFD", "Märzé.png"), MASK)
    assert images(walk(folder(root))) == GOOD + 1

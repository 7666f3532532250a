"""Damaged files of official layouts: each is named, the rest is read."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.diagnostics.dataset_check import walk
from tests import trees
from tests.broken import (
    Array,
    Change,
    cut,
    flipped,
    images,
    refused,
)
from tests.trees import put
from trainables.datasets import Located
from trainables.datasets.isic16 import ISIC16
from trainables.datasets.medsegbench import MedSegBench
from trainables.datasets.monuseg import MoNuSeg
from trainables.datasets.nifti import NIfTI
from trainables.decoding.cache import forget, load
from trainables.part import Location

CASE, TRUTH = "imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz"
TABLE = "metadata.csv"
XML = "MoNuSeg 2018 Training Data/Annotations/TCGA-A7-A13E-01Z-00-DX1.xml"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SEGPRINT_CACHE", str(tmp_path / "cache"))
    yield
    forget()


def _isic16_with_a_table(root: Path) -> None:
    """The official folders, and a CSV of something else beside them."""
    trees.isic16(root)
    put(root / TABLE, b"name,age\n")


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
    return lambda _: trees.volume(values, np.diag([-1.0, 1, 1, 1]))  # as case_001 lies


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
    found = walk(MoNuSeg(at=Location(str(tmp_path / "set")), size=64))
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


def test_a_split_file_names_the_cases_of_an_nnunet_tree(tmp_path: Path) -> None:
    trees.nifti(tmp_path / "set", 4)
    rows = [f"case_{i:03d},{s}" for i, s in enumerate(("train", "test", "val", "train"))]
    put(tmp_path / "set" / "split.csv", "\n".join(["name,split", *rows]).encode())
    dataset = NIfTI(at=Location(str(tmp_path / "set")))
    assert not walk(dataset).broken
    assert {i.split for i in load(dataset).images if "case_001" in i.name} == {"test"}


def test_volumes_stored_wide_are_one_type_whatever_their_range(tmp_path: Path) -> None:
    trees.nifti(tmp_path / "set", 4)
    for i in range(4):
        values = np.full((40, 44, 8), 100 * (i + 1), np.int32)
        put(tmp_path / "set" / "imagesTr" / f"case_{i:03d}_0000.nii.gz", trees.volume(values))
    found = walk(NIfTI(at=Location(str(tmp_path / "set"))))
    assert not [p for p in found.problems if "mixed" in p.rule]

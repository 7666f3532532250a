"""Skin lesions in dermoscopy: ISIC 2016 part 1 (and 2017, 2018), as published or with a CSV."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

from trainables.datasets import Located, Problem, Source
from trainables.decoding.download import Download
from trainables.decoding.images import SUFFIXES
from trainables.decoding.labels import Legend
from trainables.decoding.layout import split_of
from trainables.decoding.matching import matched
from trainables.decoding.pairs import Pair, reader, sources
from trainables.decoding.tree import File, Tree

ADDRESS = "https://isic-archive.s3.amazonaws.com/challenges/2016"
MD5 = {
    "Training_Data": "2029f387e62dcc062b1370b1efc1f7fb",
    "Training_GroundTruth": "fbd77134298f3511479a37bac93109c7",
    "Test_Data": "efebcaeaae751007401a40a60d391f93",
    "Test_GroundTruth": "492a7711a2e19b96114cab6c96bd1ad5",
}
"""Not published by ISIC; two independent projects state the same."""
NAME = re.compile(r"(ISIC_\d{7})(_[Ss]egmentation)?")
"""The stem of an image or its mask; later challenges write the mask's in lower case."""


@dataclass(frozen=True)
class ISIC16(Located):
    """Lesion against skin; 900 images for training and validation, 379 for test.

    The archives may lie there as they are, or unpacked. Where a CSV with the columns ``img`` and
    ``seg`` lies there, it names the pairs. There is no official validation split: a fifth of the
    training images is cut off, chosen by their names. Patients are not published. The segmentation
    tasks of 2017 and 2018, which have an official validation split, are read from their folders as
    well; their superpixels are left out.
    """

    licence: ClassVar[str] = "CC0 1.0, or CC BY-NC 4.0: sources differ; see the challenge's page"
    citation: ClassVar[str] = "Gutman et al. 2016, arXiv 1605.01397"
    downloads: ClassVar[tuple[Download, ...]] = tuple(
        Download(
            f"{ADDRESS}/ISBI2016_ISIC_Part1_{part}.zip",
            f"ISBI2016_ISIC_Part1_{part}.zip",
            f"md5:{md5}",
        )
        for part, md5 in MD5.items()
    )

    size: int = 256
    longest: int = 256

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "lesion")

    @property
    def channels(self) -> int:
        return 3

    @classmethod
    def recognised(cls, files: Tree) -> list[dict[str, Any]]:
        found = (NAME.fullmatch(f.stem) for f in files.files)
        return [{}] if any(name is not None and name[2] for name in found) else []

    def scan(self) -> Iterator[Source | Problem]:
        tree = self.tree()
        yield from tree.problems
        tables: list[tuple[File, list[dict[str, str]]]] = []
        for file in tree.files:
            try:
                rows = _rows(file)
            except (ValueError, csv.Error) as error:
                yield Problem(file.path, str(error))
            else:
                tables += [(file, rows)] if rows is not None else []
        pairs = _official(tree)
        if tables:
            pairs = (item for file, rows in tables for item in _listed(tree, file, rows))
        yield from sources(pairs, reader(self.channels, Legend(self.classes)))


def _official(tree: Tree) -> Iterator[Pair | Problem]:
    """Images ``ISIC_<7 digits>.jpg`` with masks ``ISIC_<7 digits>_Segmentation.png``."""
    images: dict[tuple[str, ...], list[File]] = defaultdict(list)
    masks: dict[tuple[str, ...], list[File]] = defaultdict(list)
    for file in tree.files:
        name = NAME.fullmatch(file.stem)
        if name is not None and file.suffix in SUFFIXES:
            (masks if name[2] else images)[(name[1],)].append(file)
    if not images:
        yield Problem(tree.url, "has no image named ISIC_<7 digits>.jpg, and no CSV with img,seg")
        return
    yield from matched(images, masks, tree, "ISIC_<7 digits>_Segmentation.png")


def _rows(file: File) -> list[dict[str, str]] | None:
    """The rows of a CSV that names images and masks; None for any other file."""
    if file.suffix != ".csv":
        return None
    reader = csv.DictReader(io.StringIO(file.read().decode("utf-8-sig", errors="replace")))
    if not {"img", "seg"} <= set(reader.fieldnames or ()):
        return None
    return list(reader)


def _listed(tree: Tree, table: File, rows: list[dict[str, str]]) -> Iterator[Pair | Problem]:
    """The pairs that a CSV names, by paths below its own folder or below the tree."""
    by_path = {f.path: f for f in tree.files}
    split = split_of(PurePosixPath(f"{table.stem}/_")) or split_of(table.name)
    if split is None:
        yield Problem(table.path, "must say in its name, or its folder's, Train or Test")

    def find(path: str) -> File | None:
        path = path.strip().replace("\\", "/")
        return by_path.get(str(table.name.parent / path)) or by_path.get(path)

    for line, row in enumerate(rows, start=2):
        image, mask = find(row["img"] or ""), find(row["seg"] or "")
        for what, found in (("img", image), ("seg", mask)):
            if found is None:
                yield Problem(table.path, f"line {line}: {what} {row[what]!r} is not there")
        if image is not None and mask is not None:
            yield Pair(image.stem, image, mask, split)

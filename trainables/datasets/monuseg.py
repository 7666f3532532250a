"""Nuclei in H&E of seven organs: MoNuSeg 2018, with its XML outlines or as images of masks."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from trainables.datasets import Located, Problem, Raster, Source
from trainables.decoding.images import read_pixels
from trainables.decoding.labels import Legend
from trainables.decoding.matching import matched, paired
from trainables.decoding.pairs import Pair, reader, sources
from trainables.decoding.polygons import fill, read_regions
from trainables.decoding.tree import File, Tree

PATIENT = re.compile(r"TCGA-\w\w-\w{4}")
"""Project, tissue source site and participant of a TCGA barcode."""


@dataclass(frozen=True)
class MoNuSeg(Located):
    """Nucleus against background: 37 images of 1000² for training and validation, 14 for test.

    The official archives may lie there as they are, or unpacked: nuclei are then filled from the
    XML at native size, with instances. Else images and masks are paired in folders such as
    ``Training/img`` and ``Training/mask``, ``Train_Folder/img`` and ``Train_Folder/labelcol``, or
    ``train/img`` and ``train/mask``. Where there is no validation folder, a fifth of the training
    patients is cut off, chosen by their names.
    """

    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    citation: ClassVar[str] = (
        "Kumar et al. 2017, IEEE TMI 36, 1550-1560; Kumar et al. 2020, IEEE TMI 39, 1380-1391"
    )
    obtain: ClassVar[str] = (
        "join the challenge at https://monuseg.grand-challenge.org, accept its licence, and put"
        " 'MoNuSeg 2018 Training Data.zip' and 'MoNuSegTestData.zip' there, unpacked or not"
    )

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "nucleus")

    @property
    def channels(self) -> int:
        return 3

    @classmethod
    def recognised(cls, files: Tree) -> list[dict[str, Any]]:
        suffixes = {f.suffix for f in files.files}
        return [{}] if ".xml" in suffixes and suffixes & {".tif", ".tiff"} else []

    def scan(self) -> Iterator[Source | Problem]:
        tree = self.tree()
        yield from tree.problems
        outlined = any(f.suffix == ".xml" for f in tree.files)
        pairs = _outlined(tree) if outlined else paired(tree, Legend(self.classes))
        read = _nuclei if outlined else reader(self.channels, Legend(self.classes))
        yield from sources(_by_patient(pairs), read)


def _outlined(tree: Tree) -> Iterator[Pair | Problem]:
    """Each TIFF with the XML of the same stem, in whichever folder."""
    sides: dict[str, dict[tuple[str, ...], list[File]]] = {
        ".tif": defaultdict(list),
        ".xml": defaultdict(list),
    }
    for file in tree.files:
        suffix = ".tif" if file.suffix == ".tiff" else file.suffix
        if suffix in sides:
            sides[suffix][(file.stem,)].append(file)
    yield from matched(
        sides[".tif"], sides[".xml"], tree, "an XML of the same name", "TIFF beside its XML"
    )


def _by_patient(items: Iterator[Pair | Problem]) -> Iterator[Pair | Problem]:
    for item in items:
        if isinstance(item, Problem):
            yield item
        else:
            yield dataclasses.replace(item, group=_patient(item.image.stem))


def _patient(name: str) -> str:
    found = PATIENT.match(name)
    return found[0] if found else name


def _nuclei(pair: Pair) -> Raster:
    """An image with its nuclei, each an instance.

    Raises:
        ValueError: one of the two files is bad.
    """
    pixels, _, of_image = read_pixels(pair.image, 3)
    try:
        instances, notes = fill(read_regions(pair.mask.read()), *pixels.shape[1:])
    except ValueError as error:
        raise ValueError(f"its outlines {pair.mask.path}: {error}") from error
    return Raster(pixels, (instances > 0).astype(np.uint8), instances, (*of_image, *notes))

"""Kinds of tissue in H&E histology: the patches and bands of ``histology``, all pixels labelled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.datasets import InWheel, Source
from trainables.decoding.patches import CITATION, LICENCE, PATCHES, WHEEL, in_bands, read
from trainables.decoding.wheel import Wheel

KINDS = {1: "stroma", 2: "neoplastic epithelium", 4: "epithelium"}
"""The kinds by their value in the files, which do not name them: the names follow the types of the
nuclei inside. Two of the patches hold one kind each."""


@dataclass(frozen=True)
class Tissue(InWheel):
    """Stroma, neoplastic epithelium and epithelium."""

    licence: ClassVar[str] = LICENCE
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = CITATION

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(KINDS.values())

    @property
    def channels(self) -> int:
        return 3

    def scan(self) -> Iterator[Source]:
        for patch in PATCHES:
            pixels, maps = read(patch)
            labels = np.zeros(maps["sem_map"].shape, np.uint8)
            for label, value in enumerate(KINDS):
                labels[maps["sem_map"] == value] = label
            yield from in_bands(patch, pixels, labels, None)

"""Types of nuclei in H&E histology: the patches and bands of ``histology``, with four types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.datasets import InWheel, Source
from trainables.decoding.patches import CITATION, LICENCE, PATCHES, WHEEL, in_bands, read
from trainables.decoding.wheel import Wheel

TYPES = {1: "neoplastic", 2: "inflammatory", 3: "connective", 5: "epithelial"}
"""The types that the patches hold, by their value in the files; type 4, dead, is in none."""


@dataclass(frozen=True)
class CellTypes(InWheel):
    """Nuclei of four types against background; 125 instances."""

    licence: ClassVar[str] = LICENCE
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = CITATION

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *TYPES.values())

    @property
    def channels(self) -> int:
        return 3

    def scan(self) -> Iterator[Source]:
        for patch in PATCHES:
            pixels, maps = read(patch)
            labels = np.zeros(maps["type_map"].shape, np.uint8)
            for label, value in enumerate(TYPES, 1):
                labels[maps["type_map"] == value] = label
            yield from in_bands(patch, pixels, labels, maps["inst_map"].astype(np.int32))

"""Types of nuclei in H&E histology: the patches and bands of ``histology``, with four types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainables.datasets import Source
from trainables.datasets.histology import PATCHES, Histology, in_bands, read

TYPES = {1: "neoplastic", 2: "inflammatory", 3: "connective", 5: "epithelial"}
"""The types that the patches hold, by their value in the files; type 4, dead, is in none."""


@dataclass(frozen=True)
class CellTypes(Histology):
    """Nuclei of four types against background; 125 instances."""

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *TYPES.values())

    def scan(self) -> Iterator[Source]:
        for patch in PATCHES:
            pixels, maps = read(patch)
            labels = np.zeros(maps["type_map"].shape, np.uint8)
            for label, value in enumerate(TYPES, 1):
                labels[maps["type_map"] == value] = label
            yield from in_bands(patch, pixels, labels, maps["inst_map"].astype(np.int32))

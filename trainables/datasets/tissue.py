"""Kinds of tissue in H&E histology: the patches and bands of ``histology``, all pixels labelled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainables.datasets import Source
from trainables.datasets.histology import PATCHES, Histology, in_bands, read

KINDS = {1: "stroma", 2: "neoplastic epithelium", 4: "epithelium"}
"""The kinds by their value in the files, which do not name them: the names follow the types of the
nuclei inside. Two of the patches hold one kind each."""


@dataclass(frozen=True)
class Tissue(Histology):
    """Stroma, neoplastic epithelium and epithelium."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(KINDS.values())

    def scan(self) -> Iterator[Source]:
        for patch in PATCHES:
            pixels, maps = read(patch)
            labels = np.zeros(maps["sem_map"].shape, np.uint8)
            for label, value in enumerate(KINDS):
                labels[maps["sem_map"] == value] = label
            yield from in_bands(patch, pixels, labels, None)

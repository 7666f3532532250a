"""Nuclei in H&E histology: three 256² patches, each split in three bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.datasets import InWheel, Source
from trainables.decoding.patches import CITATION, LICENCE, PATCHES, WHEEL, in_bands, read
from trainables.decoding.wheel import Wheel


@dataclass(frozen=True)
class Histology(InWheel):
    """Nucleus against background; 125 instances."""

    licence: ClassVar[str] = LICENCE
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = CITATION

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "nucleus")

    @property
    def channels(self) -> int:
        return 3

    def scan(self) -> Iterator[Source]:
        for patch in PATCHES:
            pixels, maps = read(patch)
            instances = maps["inst_map"].astype(np.int32)
            yield from in_bands(patch, pixels, (instances > 0).astype(np.uint8), instances)

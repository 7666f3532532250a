"""HeLa nuclei in fluorescence: one field of a film, split in strips of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets import InWheel, Source
from trainables.decoding.films import FOLDER, WHEEL
from trainables.decoding.strips import Strip, in_strips, stack
from trainables.decoding.wheel import Wheel

STRIPS = (
    Strip("train", 0, 560),
    Strip("val", 600, 680),
    Strip("val", 680, 760),
    Strip("test", 800, 900),
    Strip("test", 900, 1000),
    Strip("test", 1000, 1100),
)
"""Columns of each split; 40 columns (a nucleus is about 28 wide) lie unused between splits."""
FRAMES = (0, 10, 19)
"""Frames half an hour apart are near copies: these are the first, the middle and the last."""


@dataclass(frozen=True)
class Hela(InWheel):
    """Nucleus against background, 700 x 1100 pixels; a program drew the masks, with errors."""

    licence: ClassVar[str] = "Cell Tracking Challenge (free use with attribution)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "Maška et al. 2023, Nature Methods 20, 1010-1020"

    narrowest: ClassVar[int] = 80

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "nucleus")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        pixels = stack(WHEEL, f"{FOLDER}/Fluo_Hela_02_img.tif")
        instances = stack(WHEEL, f"{FOLDER}/Fluo_Hela_02_ERR_SEG.tif")
        return in_strips(pixels, instances, STRIPS, "columns", FRAMES)

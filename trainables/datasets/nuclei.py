"""Nuclei in fluorescence microscopy: one 512² image of DSB 2018, split in three bands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tifffile

from trainables.datasets import InWheel, Raster, Source, Split
from trainables.decoding.wheel import Wheel

WHEEL = Wheel(
    project="stardist",
    version="0.9.2",
    filename="stardist-0.9.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
)
BANDS: tuple[tuple[Split, int, int], ...] = (
    ("train", 0, 256),
    ("val", 288, 352),
    ("test", 384, 512),
)
"""Columns of each split; 32 columns (a nucleus is about 20 wide) lie unused between splits."""


@dataclass(frozen=True)
class Nuclei(InWheel):
    """Nucleus against background; 125 instances."""

    licence: ClassVar[str] = "CC0 1.0 (BBBC038)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "Caicedo et al. 2019, Nature Methods 16, 1247-1253"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "nucleus")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        folder = "stardist/data/images"
        image = tifffile.imread(io.BytesIO(WHEEL.read(f"{folder}/img2d.tif")))
        mask = tifffile.imread(io.BytesIO(WHEEL.read(f"{folder}/mask2d.tif")))
        # Mitotic nuclei are ten times brighter than the rest: the square root evens them out.
        pixels = np.sqrt(image.astype(np.float32))[None]
        instances = mask.astype(np.int32)
        labels = (mask > 0).astype(np.uint8)
        for split, first, last in BANDS:
            part = Raster(pixels[:, :, first:last], labels[:, first:last], instances[:, first:last])
            yield Source.of(f"dsb-{split}", f"columns-{first}-{last}", split, part)

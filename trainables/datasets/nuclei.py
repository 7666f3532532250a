"""Nuclei in fluorescence microscopy: one 512² image of DSB 2018, split in three bands."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tifffile

from trainables.datasets import Dataset, Image, Split
from trainables.part import require
from trainables.wheel import Wheel

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
class Nuclei(Dataset):
    """Nucleus against background; 125 instances."""

    classes: ClassVar[tuple[str, ...]] = ("background", "nucleus")
    channels: ClassVar[int] = 1
    licence: ClassVar[str] = "CC0 1.0 (BBBC038)"
    citation: ClassVar[str] = "Caicedo et al. 2019, Nature Methods 16, 1247-1253"

    size: int = 64

    def __post_init__(self) -> None:
        require(0 < self.size <= 64, f"size={self.size} must lie in 1..64, the narrowest band")

    def read(self) -> list[Image]:
        folder = "stardist/data/images"
        image = tifffile.imread(io.BytesIO(WHEEL.read(f"{folder}/img2d.tif")))
        mask = tifffile.imread(io.BytesIO(WHEEL.read(f"{folder}/mask2d.tif")))
        # Mitotic nuclei are ten times brighter than the rest: the square root evens them out.
        pixels = np.sqrt(image.astype(np.float32))[None]
        instances = mask.astype(np.int32)
        labels = (mask > 0).astype(np.uint8)
        return [
            Image(
                name=f"dsb-{split}",
                group=f"columns-{first}-{last}",
                split=split,
                pixels=pixels[:, :, first:last],
                labels=labels[:, first:last],
                instances=instances[:, first:last],
            )
            for split, first, last in BANDS
        ]

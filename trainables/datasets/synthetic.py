"""Synthetic discs of known prevalence in noise of known strength: for tests and closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainables.datasets import Dataset, Source, in_noise
from trainables.part import require


@dataclass(frozen=True)
class Synthetic(Dataset):
    """Images of random discs: foreground 1, background 0, plus Gaussian noise.

    ``radius`` is in pixels; ``cases`` is the number of images per split.
    """

    licence: ClassVar[str] = "none needed"
    citation: ClassVar[str] = "generated"

    size: int = 32
    cases: int = 8
    """Images per split."""
    discs: int = 3
    """Discs per image."""
    radius: float = 5.0
    """Radius of the discs, in pixels."""
    noise: float = 0.5
    """Standard deviation of the noise of the images."""

    def __post_init__(self) -> None:
        require(self.size >= 4, f"size={self.size} must be at least 4")
        require(self.cases >= 1, f"cases={self.cases} must be at least 1")
        require(self.discs >= 0, f"discs={self.discs} must not be negative")
        require(self.radius > 0, f"radius={self.radius} must be positive")
        require(self.noise >= 0, f"noise={self.noise} must not be negative")

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "disc")

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        return in_noise(self.cases, self.noise, self._discs)

    def _discs(self, draws: np.random.Generator) -> NDArray[np.uint8]:
        rows, columns = np.mgrid[: self.size, : self.size]
        labels = np.zeros((self.size, self.size), np.uint8)
        for row, column in draws.uniform(0, self.size, (self.discs, 2)):
            labels[(rows - row) ** 2 + (columns - column) ** 2 <= self.radius**2] = 1
        return labels

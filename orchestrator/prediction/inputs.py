"""Images to segment: the files that are named, and what is read from each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.config import Config
from trainables.datasets import Dataset, Source
from trainables.datasets.nifti import NIfTI
from trainables.decoding import images, volumes
from trainables.decoding.images import compact, read_pixels
from trainables.decoding.rules import scanned
from trainables.decoding.tree import File
from trainables.decoding.volumes import Voxels, read_voxels
from trainables.parsing import parse_part
from trainables.part import names

SUFFIXES = (*images.SUFFIXES, *volumes.SUFFIXES)


@dataclass(frozen=True)
class ImageFile:
    """A file with an image or a volume, and the name of its outputs."""

    path: Path
    name: str
    """Relative, without the suffix where that is unique."""

    @property
    def file(self) -> File:
        """The file as the readers of data sets take it."""
        return File(str(self.path), self.path.stat().st_size, "", self.path.read_bytes)

    @property
    def volume(self) -> bool:
        """Whether it holds a volume."""
        return self.file.suffix in volumes.SUFFIXES

    def sha256(self) -> str:
        """Return the hash of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class DatasetImage:
    """A held-out image of a data set."""

    source: Source
    name: str
    volume: ClassVar[bool] = False

    def sha256(self) -> str:
        """Return the hash of the pixels."""
        return hashlib.sha256(self.source.read().pixels.tobytes()).hexdigest()


def find(paths: Iterable[str]) -> list[ImageFile | DatasetImage]:
    """Return the files that are named, and those below the directories that are named.

    The name of a data set stands for its test images.

    Raises:
        ValueError: a path does not exist, or there is no image below it.
    """
    texts = list(paths)
    sets = [text for text in texts if text in names("datasets") and not Path(text).exists()]
    tested = [image for text in sets for image in _test_images(text)]
    return [*tested, *_files(text for text in texts if text not in sets)]


def _test_images(name: str) -> Iterator[DatasetImage]:
    dataset = parse_part("datasets", name)
    assert isinstance(dataset, Dataset)
    for source in scanned(dataset):
        if isinstance(source, Source) and source.split == "test":
            yield DatasetImage(source, f"{name}/{source.name}")


def _files(paths: Iterable[str]) -> list[ImageFile]:
    found: dict[Path, Path] = {}
    for text in paths:
        path = Path(text).expanduser()
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file() and _suffix(p))
            if not below:
                raise ValueError(f"{text}: no image below it (choices: {', '.join(SUFFIXES)})")
            found |= {p.resolve(): p.relative_to(path) for p in below}
        elif path.is_file():
            found.setdefault(path.resolve(), Path(path.name))
        else:
            raise ValueError(
                f"{text}: there is no such file, directory or data set (data sets:"
                f" {', '.join(names('datasets'))})"
            )
    stems = Counter(str(short)[: -len(_suffix(short)) or None] for short in found.values())
    by_name: dict[str, ImageFile] = {}
    for path, short in found.items():
        stem = str(short)[: -len(_suffix(short)) or None]
        name = stem if stems[stem] == 1 else str(short)
        if name in by_name:
            raise ValueError(
                f"{path} and {by_name[name].path} would have the same output {name}: name the"
                " directory that holds both, or predict them one after the other"
            )
        by_name[name] = ImageFile(path, name)
    return list(by_name.values())


def _suffix(path: Path) -> str:
    """Return the suffix of an image file as it is written; empty for other files."""
    lower = path.name.lower()
    known = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(s)), "")
    return path.name[len(path.name) - len(known) :]


class Plane(NamedTuple):
    """One image, or one slice of a volume."""

    name: str
    pixels: NDArray[Any]
    """[C, H, W], as stored."""


def read_image(image: ImageFile | DatasetImage, channels: int) -> tuple[Plane, tuple[str, ...]]:
    """Return an image, and notes on how its file was read.

    Raises:
        ValueError: the file is damaged, or not an image of so many channels.
    """
    if isinstance(image, DatasetImage):
        raster = image.source.read()
        return Plane(image.name, raster.pixels), raster.notes
    if not _suffix(image.path):
        raise ValueError(f"is not an image (choices: {', '.join(SUFFIXES)})")
    picture = read_pixels(image.file, channels)
    notes = picture.notes
    if picture.orientation != 1:
        notes = (*notes, f"its orientation tag {picture.orientation} was applied")
    return Plane(image.name, picture.pixels), notes


@dataclass(frozen=True)
class Slicing:
    """How a volume is cut into images: as the volumes of the training data were."""

    axis: int = 2
    low: float | None = None
    high: float | None = None

    @staticmethod
    def of(config: Config) -> Slicing:
        """Return the slicing of a config's task; axial and without a window for other tasks."""
        task = config.task
        if isinstance(task, NIfTI):
            return Slicing(task.axis, task.window_low, task.window_high)
        return Slicing()

    def planes(self, name: str, voxels: Voxels, channels: int) -> Iterator[Plane]:
        """Yield all slices of a volume, with its channels and within the window.

        Raises:
            ValueError: it has another number of channels.
        """
        for plane in self.cut(name, voxels, channels, windowed=True):
            yield plane._replace(pixels=compact(plane.pixels))

    def cut(
        self, name: str, voxels: Voxels, channels: int, *, windowed: bool = False
    ) -> Iterator[Plane]:
        """Yield all slices of a volume with the stored values.

        Raises:
            ValueError: it has another number of channels.
        """
        values = voxels.values
        stacked = values[None] if values.ndim == 3 else np.moveaxis(values, 3, 0)
        if len(stacked) != channels:
            raise ValueError(f"has {len(stacked)} channels, must have {channels}")
        whole = not windowed or (self.low is None and self.high is None)
        cut = stacked if whole else self._windowed(stacked)
        for i in range(cut.shape[self.axis + 1]):
            plane = np.rot90(cut.take(i, self.axis + 1), axes=(-2, -1))
            yield Plane(f"{name}/{i}", np.ascontiguousarray(plane))

    def _windowed(self, values: NDArray[Any]) -> NDArray[Any]:
        low = values.min() if self.low is None else self.low
        high = values.max() if self.high is None else self.high
        return values.clip(low, high).astype(values.dtype)

    def volume(self, planes: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the volume [X, Y, Z] whose slices these are; the inverse of :meth:`planes`."""
        return np.stack([np.rot90(plane, -1, axes=(-2, -1)) for plane in planes], self.axis)


def read_volume(image: ImageFile) -> Voxels:
    """Return a volume in canonical orientation.

    Raises:
        ValueError: the file is damaged, or has no orientation.
    """
    return read_voxels(image.file)

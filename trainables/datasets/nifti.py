"""Volumes in NIfTI, as slices along an axis: CT with a window, MR, one or several channels."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import math
import re
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from trainables.datasets import Located, Problem, Raster, Source, check_names
from trainables.decoding.images import compact, to_labels
from trainables.decoding.latest import Latest
from trainables.decoding.pairs import IMAGES, MASKS, Keyed, Pair, by_key, matched, settled
from trainables.decoding.splits import with_split_file
from trainables.decoding.tree import MAX_FILE, File, Tree, in_a_line
from trainables.part import require

SUFFIXES = (".nii", ".nii.gz")
BROKEN = (ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError)
MAX_HEADER = 2**24
"""Bytes before the voxels, extensions included."""
CHANNEL = re.compile(r"(.*)_(\d{4})")
"""nnU-Net's names of a case's channels."""
AXES = "xyz"


@dataclass(frozen=True)
class NIfTI(Located):
    """``images/`` and ``masks/``, or nnU-Net's ``imagesTr/`` and ``labelsTr/``, paired by name.

    A volume is turned to the closest canonical orientation (x to the right, y to the front, z to
    the head), so that ``axis`` 0, 1, 2 gives sagittal, coronal and axial slices whichever way it
    was stored. Channels are the files ``_0000``, ``_0001``, ... of a case, or a volume's fourth
    dimension. A volume is one patient, unless ``split.csv`` says more; all slices of a patient are
    in one split, and neighbours among them are near copies of each other: ``every`` thins them.
    """

    licence: ClassVar[str] = "the user's own"
    citation: ClassVar[str] = "the user's own"
    obtain: ClassVar[str] = "put images/ and masks/ there; nothing is downloaded"

    foreground: tuple[str, ...] = ("foreground",)
    modalities: int = 1
    axis: int = 2
    every: int = 1
    """Take one slice of so many."""
    empty: bool = True
    """Keep slices without any foreground."""
    window_low: float | None = None
    """Values below are raised to it, such as -160 HU of a soft-tissue window."""
    window_high: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.classes)
        require(self.axis in (0, 1, 2), f"axis={self.axis} must be 0, 1 or 2")
        require(self.every >= 1, f"every={self.every} must be at least 1")
        require(self.modalities >= 1, f"modalities={self.modalities} must be at least 1")
        low, high = self.window_low, self.window_high
        require(
            low is None or high is None or low < high,
            f"window_low={low} must be below window_high={high}",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *self.foreground)

    @property
    def channels(self) -> int:
        return self.modalities

    @classmethod
    def recognised(cls, files: Tree) -> list[dict[str, Any]]:
        return [{}] if any(f.suffix in SUFFIXES for f in files.files) else []

    def scan(self) -> Iterator[Source | Problem]:
        tree = self.tree()
        yield from tree.problems
        channels, pairs = _volumes(tree)
        table = next((f for f in tree.files if f.path == "split.csv"), None)
        if table is not None:
            pairs = with_split_file(pairs, table)
        load: Latest[Volume, Arrays] = Latest(self._arrays)
        for item in settled(pairs):
            if isinstance(item, Problem):
                yield item
                continue
            pair, group, split = item
            volume = Volume(tuple(channels[pair.image.path]), pair.mask)
            try:
                wanted = self._slices(volume, load)
            except (ValueError, OSError) as error:
                yield Problem(pair.image.path, str(error))
                continue
            for i in wanted:
                name = f"{pair.name}/{AXES[self.axis]}{i:04d}"
                read = functools.partial(self._raster, load, volume, i)
                yield Source(name, group, split, read, pair.image.path)

    def _slices(self, volume: Volume, load: Latest[Volume, Arrays]) -> list[int]:
        """The places of the slices to take, from the header alone where that is enough."""
        if self.empty:
            return list(range(0, volume.length(self.axis), self.every))
        _, labels = load(volume)
        full = (labels != 0).any(tuple(k for k in range(3) if k != self.axis))
        return np.flatnonzero(full)[:: self.every].tolist()

    def _raster(self, load: Latest[Volume, Arrays], volume: Volume, i: int) -> Raster:
        pixels, labels = load(volume)

        def upright(values: NDArray[Any], axis: int) -> NDArray[Any]:
            """The slice with its second axis running up and its first to the right."""
            return np.rot90(values.take(i, axis), axes=(-2, -1))

        seen = compact(np.ascontiguousarray(upright(pixels, self.axis + 1)))
        with _of_mask(volume):
            return Raster(seen, to_labels(upright(labels, self.axis), self.classes))

    def _arrays(self, volume: Volume) -> Arrays:
        """A volume's channels [C, X, Y, Z], within the window, and its mask [X, Y, Z]."""
        images = [_canonical(f) for f in volume.images]
        with _of_mask(volume):
            labels = _canonical(volume.mask)
        if len(images) == 1 and images[0].ndim == 4:
            images = list(np.moveaxis(images[0], 3, 0))
        if len(images) != self.modalities:
            raise ValueError(f"has {len(images)} channels, must have modalities={self.modalities}")
        for array in images:
            if array.shape != labels.shape:
                raise ValueError(
                    f"is {array.shape} voxels but its mask {volume.mask.path} is {labels.shape}"
                )
        pixels = np.stack(images)
        return _windowed(pixels, self.window_low, self.window_high), labels


@dataclass(frozen=True)
class Volume:
    """The files of one case."""

    images: tuple[File, ...]
    """A file per channel, or one."""
    mask: File

    def length(self, axis: int) -> int:
        """Voxels along a canonical axis, from the header."""
        header = _header(self.images[0])
        shape = header.get_data_shape()
        stored: Any = nibabel.orientations.io_orientation(header.get_best_affine())
        if len(shape) < 3:
            raise ValueError(f"has {len(shape)} dimensions, must have 3, or 4 with channels")
        along = np.flatnonzero(stored[:, 0] == axis)
        if len(along) != 1:
            raise ValueError(f"has an affine that leaves axis {AXES[axis]} without a direction")
        return int(shape[int(along[0])])


def _windowed(pixels: NDArray[Any], low: float | None, high: float | None) -> NDArray[Any]:
    """Values cut to a window, in their own type."""
    whole = pixels.dtype.kind in "iu"
    least, most = (
        (np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max) if whole else (-np.inf, np.inf)
    )
    bounds = (least if low is None else max(low, least), most if high is None else min(high, most))
    return pixels.clip(*(pixels.dtype.type(b) for b in bounds))


Arrays = tuple[NDArray[Any], NDArray[Any]]


@contextlib.contextmanager
def _of_mask(volume: Volume) -> Generator[None]:
    """Says of what is wrong in the mask that it is the mask's."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"its mask {volume.mask.path} {error}") from error


def _volumes(tree: Tree) -> tuple[dict[str, list[File]], Iterator[Pair | Problem]]:
    """The channels of each case by its first file, and that file with the case's mask."""
    masks = by_key(tree, MASKS, SUFFIXES)
    cases: Keyed = defaultdict(list)
    for key, files in by_key(tree, IMAGES, SUFFIXES).items():
        channel = CHANNEL.fullmatch(key[-1])
        of_case = key if channel is None or key in masks else (*key[:-1], channel[1])
        cases[of_case] += files
    channels: dict[str, list[File]] = {}
    first: Keyed = {}
    for key, files in cases.items():
        stems = {f.stem for f in files}
        first[key] = files[:1] if len(stems) == len(files) else files
        channels[files[0].path] = sorted(files, key=lambda f: f.stem)
    return channels, matched(first, masks, tree)


def _header(file: File) -> Any:
    data = _bytes(file, 348)
    try:
        return nibabel.Nifti1Header.from_fileobj(io.BytesIO(data))
    except (*BROKEN, ValueError) as error:
        raise ValueError(f"is no NIfTI that can be read: {in_a_line(error)}") from error


def _bytes(file: File, most: int) -> bytes:
    """The file's first bytes, unpacked."""
    data = file.read()
    try:
        if file.suffix == ".nii.gz":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(most + 1)
    except BROKEN as error:
        raise ValueError(f"is no gzip file that can be read: {in_a_line(error)}") from error
    return data


def _canonical(file: File) -> NDArray[Any]:
    """The voxels in canonical orientation, in their stored type where that is exact.

    Raises:
        ValueError: the file is damaged.
    """
    header = _header(file)
    size = math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    if size > MAX_FILE:
        raise ValueError(f"unpacks to {size} bytes, more than {MAX_FILE}")
    data = _bytes(file, size + MAX_HEADER)
    try:
        image: Any = nibabel.Nifti1Image.from_bytes(data)
        values = np.asarray(nibabel.as_closest_canonical(image).dataobj)
    except (*BROKEN, ValueError) as error:
        raise ValueError(f"is no NIfTI that can be read: {in_a_line(error)}") from error
    return values.astype(np.float32) if values.dtype == np.float64 else values

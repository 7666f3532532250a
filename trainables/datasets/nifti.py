"""Volumes in NIfTI, NRRD or MHA, as slices along an axis: CT with a window, or MR."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.datasets import Located, Problem, Raster, Source, check_names
from trainables.decoding.annotators import annotated
from trainables.decoding.channels import by_case
from trainables.decoding.images import compact
from trainables.decoding.labels import (
    Legend,
    check_values,
    classes_of,
    ignores,
    is_white,
    to_labels,
)
from trainables.decoding.latest import Latest
from trainables.decoding.layout import IMAGES, MASKS, by_key
from trainables.decoding.matching import annotator_sets, matched, unread, without
from trainables.decoding.pairs import Pair, settled
from trainables.decoding.splits import with_split_file
from trainables.decoding.tree import File, Tree
from trainables.decoding.volumes import (
    AXES,
    SUFFIXES,
    Voxels,
    length,
    on_one_grid,
    read_voxels,
    sides,
)
from trainables.labels import IGNORE, vote
from trainables.part import require
from trainables.part_fields import later


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
    """The names of the classes 1 and up."""
    modalities: int = 1
    """Volumes per patient, which become channels."""
    axis: int = 2
    """The axis that slices are perpendicular to."""
    every: int = 1
    """Only every n-th slice is used."""
    empty: bool = True
    """Keep slices without any foreground."""
    window_low: float | None = None
    """Values below are raised to it, such as -160 HU of a soft-tissue window."""
    window_high: float | None = None
    """Values above are lowered to it; null: none are."""
    values: tuple[tuple[int, str], ...] = later(())
    """The class of each number in the masks, as of a folder of images, instead of ``foreground``;
    empty: 0, 1, ...."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self.values, foreground=self.foreground == NIfTI.foreground)
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
        return classes_of(self.values) or ("background", *self.foreground)

    @property
    def ignores(self) -> bool:
        return ignores(self.values)

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
        load: Latest[Volume, Arrays] = Latest(self._arrays)
        for item in settled(with_split_file(pairs, tree)):
            if isinstance(item, Problem):
                yield item
                continue
            pair, group, split = item
            masks = (pair.mask, *pair.more)
            volume = Volume(tuple(channels[pair.image.path]), masks, pair.annotators)
            try:
                wanted = self._slices(volume, load)
            except (ValueError, OSError) as error:
                yield Problem(pair.image.path, str(error))
                continue
            for i in wanted:
                name = f"{pair.name}/{AXES[self.axis]}{i:04d}"
                read = functools.partial(self._raster, load, volume, i)
                yield Source(name, group, split, read, pair.image.path, pair.name)

    def _slices(self, volume: Volume, load: Latest[Volume, Arrays]) -> list[int]:
        """The places of the slices to take, from the header alone where that is enough."""
        if self.empty:
            return list(range(0, length(volume.images[0], self.axis), self.every))
        labels = load(volume).labels
        full = ((labels != 0) & (labels != IGNORE)).any(
            tuple(k for k in range(3) if k != self.axis)
        )
        return np.flatnonzero(full)[:: self.every].tolist()

    def _raster(self, load: Latest[Volume, Arrays], volume: Volume, i: int) -> Raster:
        arrays = load(volume)

        def upright(values: NDArray[Any], axis: int) -> NDArray[Any]:
            """The slice with its second axis running up and its first to the right."""
            return np.rot90(values.take(i, axis), axes=(-2, -1))

        seen = compact(np.ascontiguousarray(upright(arrays.pixels, self.axis + 1)))
        labels = np.ascontiguousarray(upright(arrays.labels, self.axis))
        white = arrays.white if (labels == 1).any() else None
        annotations = arrays.annotations
        if annotations is not None:
            annotations = np.ascontiguousarray(upright(annotations, self.axis + 1))
        return Raster(
            *(seen, labels),
            notes=arrays.notes,
            white=white,
            spacing=self._spacing(arrays.sides),
            annotations=annotations,
            annotators=volume.annotators,
        )

    def _spacing(self, sides: tuple[float, ...]) -> tuple[float, float, float]:
        """The distances of slices, of rows and of columns; slices without foreground may lack."""
        column, row = (side for k, side in enumerate(sides) if k != self.axis)
        return (sides[self.axis] * self.every if self.empty else 0.0, row, column)

    def _arrays(self, volume: Volume) -> Arrays:
        """A volume's channels within the window, and its mask.

        Raises:
            ValueError: a file is bad, or image, channels and mask do not lie on one grid.
        """
        first, *others = [read_voxels(f) for f in volume.images]
        legend = Legend(self.classes, self.values)
        masks = [_mask(file, legend) for file in volume.masks]
        notes = list(first.notes)
        for file, (mask, _) in zip(volume.masks, masks, strict=True):
            notes += on_one_grid(first, mask, "its mask")
            notes += [f"its mask {file.path} {note}" for note in mask.notes]
        images = [first.values]
        if first.values.ndim == 4:
            images = list(np.moveaxis(first.values, 3, 0))
        for channel in others:
            if first.values.ndim == 4 or channel.values.ndim == 4:
                raise ValueError("has several files, one of which has several channels")
            notes += [*channel.notes, *on_one_grid(first, channel, "its channel")]
            images.append(channel.values)
        if len(images) != self.modalities:
            raise ValueError(f"has {len(images)} channels, must have modalities={self.modalities}")
        pixels = np.stack(images)
        windowed = _windowed(pixels, self.window_low, self.window_high)
        layers = [labels for _, labels in masks]
        annotations = np.stack(layers) if len(layers) > 1 else None
        labels = layers[0] if annotations is None else vote(annotations)
        white = is_white(masks[0][0].values, masks[0][1], legend)
        return Arrays(windowed, labels, tuple(notes), white, sides(first), annotations)


@dataclass(frozen=True)
class Volume:
    """The files of one case."""

    images: tuple[File, ...]
    """A file per channel, or one."""
    masks: tuple[File, ...]
    """One, or one per annotator."""
    annotators: tuple[str, ...] = ()


class Arrays(NamedTuple):
    """A volume that was read."""

    pixels: NDArray[Any]
    """[C, X, Y, Z]."""
    labels: NDArray[np.uint8]
    """[X, Y, Z], 0..K−1 or :data:`~trainables.labels.IGNORE`."""
    notes: tuple[str, ...]
    white: bool | None
    sides: tuple[float, ...]
    """The millimetres of a voxel along x, y and z."""
    annotations: NDArray[np.uint8] | None
    """[A, X, Y, Z], the labels of several annotators."""


def _windowed(pixels: NDArray[Any], low: float | None, high: float | None) -> NDArray[Any]:
    """Values cut to a window, in their own type."""
    whole = pixels.dtype.kind in "iu"
    least, most = (
        (np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max) if whole else (-np.inf, np.inf)
    )
    bounds = (least if low is None else max(low, least), most if high is None else min(high, most))
    return pixels.clip(*(pixels.dtype.type(b) for b in bounds))


def _mask(file: File, legend: Legend) -> tuple[Voxels, NDArray[np.uint8]]:
    """A mask as it was read, and its labels [X, Y, Z].

    Raises:
        ValueError: the mask is bad; it is named as the mask.
    """
    try:
        mask = read_voxels(file)
        if mask.values.ndim != 3:
            raise ValueError(f"is {mask.values.shape} voxels, must have 3 dimensions")
        return mask, to_labels(mask.values, legend)
    except ValueError as error:
        raise ValueError(f"its mask {file.path} {error}") from error


def _volumes(tree: Tree) -> tuple[dict[str, list[File]], Iterator[Pair | Problem]]:
    """The channels of each case by its first file, and that file with the case's mask."""
    masks = by_key(tree, MASKS, SUFFIXES)
    by_person, odd_annotators = annotated(tree, SUFFIXES, masks)
    sets = annotator_sets(by_person)
    masks = without(masks, sets)
    first, channels, odd = by_case(by_key(tree, IMAGES, SUFFIXES), {*masks, *sets})

    def pairs() -> Iterator[Pair | Problem]:
        yield from unread(tree, SUFFIXES)
        yield from odd.values()
        yield from odd_annotators
        image_is = f"volume {' or '.join(SUFFIXES)} in a folder named {', '.join(IMAGES)}"
        for item in matched(first, masks, tree, image_is=image_is, sets=sets):
            if isinstance(item, Problem) or item.image.path not in odd:
                yield item

    return channels, pairs()

"""A data set as training and evaluation see it: images, channel statistics, class counts, hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.decoding.downscale import reduced, reduced_labels
from trainables.interfaces.dataset import SPLITS, Dataset, Raster, Source, Split
from trainables.labels import IGNORE

POINTS = 64
"""Foreground pixels remembered per image and class, to aim training crops at."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Image:
    """One decoded image with its mask."""

    name: str
    group: str
    split: Split
    pixels: Array
    """[C, h, w]; reduced where the data set says so."""
    labels: NDArray[np.uint8]
    """[H, W] at native size."""
    instances: NDArray[np.int32] | None
    """[H, W] at native size."""
    targets: NDArray[np.uint8]
    """[h, w], the labels at the size of the pixels: the same array where nothing was reduced."""
    points: NDArray[np.int32]
    """[N, 3] (class, row, column) of some foreground pixels of the targets."""
    volume: str = ""
    """The volume that it is a slice of; empty: none."""
    spacing: tuple[float, float, float] | None = None
    """Millimetres between slices, rows and columns (:class:`Raster`)."""
    annotations: NDArray[np.uint8] | None = None
    """[A, H, W], the labels of each annotator at native size; None where there is one annotator."""
    annotation_targets: NDArray[np.uint8] | None = None
    """[A, h, w], the annotations at the size of reduced pixels; None where nothing was reduced."""
    annotators: tuple[str, ...] = ()
    """The names of the annotators, in the order of ``annotations``."""


@dataclass(frozen=True)
class Loaded:
    """A data set that was read, and what its training images look like."""

    images: list[Image]
    mean: NDArray[np.float64]
    """Per channel, over all pixels of all training images."""
    std: NDArray[np.float64]
    pixels: dict[str, list[int]]
    """Pixels of each class at native size, per split."""
    content_hash: str


class Tally:
    """Sums over the images of a data set as they come."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.content = dataset, hashlib.sha256()
        self.pixels: dict[str, list[int]] = {s: [0] * len(dataset.classes) for s in SPLITS}
        self.learnable: set[int] = set()
        """Classes that a training image has, reduced as it is."""
        self.count = 0
        self.mean, self.square = np.zeros(dataset.channels), np.zeros(dataset.channels)

    def add(self, source: Source, raster: Raster) -> Image:
        """The image as it is kept."""
        pixels, labels, instances = raster.pixels, raster.labels, raster.instances
        if instances is not None:
            instances = np.where(labels == IGNORE, 0, instances)
        about = f"{source.name}|{source.group}|{source.split}|{pixels.shape}|{pixels.dtype}"
        self.content.update(about.encode())
        annotations = raster.annotations
        for array in (pixels, labels, instances, annotations):
            if array is not None:
                self.content.update(np.ascontiguousarray(array).data)
        counts = class_counts(labels, len(self.dataset.classes)).tolist()
        known = self.pixels[source.split]
        self.pixels[source.split] = [a + b for a, b in zip(known, counts, strict=True)]
        pixels, targets = reduced(pixels, labels, self.dataset.longest)
        annotation_targets = None
        if annotations is not None and targets.shape != labels.shape:
            size = (targets.shape[0], targets.shape[1])
            annotation_targets = np.stack([reduced_labels(one, size) for one in annotations])
        if source.split == "train":
            self._statistics(pixels)
            counts = class_counts(targets, len(self.dataset.classes))
            self.learnable |= set(np.flatnonzero(counts).tolist())
        points = _points(source.name, targets)
        return Image(
            *(source.name, source.group, source.split),
            *(pixels, labels, instances, targets, points),
            *(source.volume, raster.spacing),
            *(annotations, annotation_targets, names_of_annotators(raster)),
        )

    def _statistics(self, pixels: Array) -> None:
        """Mean and squared deviations of a union (Chan, Golub & LeVeque 1983)."""
        values = pixels.reshape(len(pixels), -1).astype(np.float64)
        n, mean = values.shape[1], values.mean(1)
        total = self.count + n
        between = (mean - self.mean) ** 2 * self.count * n / total
        self.square += ((values - mean[:, None]) ** 2).sum(1) + between
        self.mean += (mean - self.mean) * n / total
        self.count = total

    def loaded(self, images: list[Image]) -> Loaded:
        """The images with the sums.

        Raises:
            ValueError: a foreground class has no pixel to learn from, or a split no pixel at all.
        """
        for split, known in self.pixels.items():
            if not any(known):
                raise ValueError(f"{self.dataset.title}: every pixel of split {split} is ignored")
        for k, label in enumerate(self.dataset.classes):
            if k > 0 and k not in self.learnable:
                seen = self.pixels["train"][k] > 0
                hint = f" left at longest={self.dataset.longest}" if seen else ""
                raise ValueError(
                    f"{self.dataset.title}: no training mask has a pixel of {label}{hint}"
                )
        return Loaded(
            images,
            self.mean,
            np.sqrt(self.square / max(1, self.count)).clip(min=1e-6),
            self.pixels,
            self.content.hexdigest()[:16],
        )


def names_of_annotators(raster: Raster) -> tuple[str, ...]:
    """Return the names of the annotators, or their numbers where the data set names none."""
    if raster.annotations is None:
        return ()
    return raster.annotators or tuple(str(k + 1) for k in range(len(raster.annotations)))


def class_counts(labels: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Return the number of pixels of each class, [K], without those to be ignored."""
    return np.bincount(labels[labels != IGNORE], minlength=classes)


def _points(name: str, targets: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Some pixels of every foreground class, drawn by the image's name."""
    seed = hashlib.sha256(name.encode()).digest()
    draws = np.random.default_rng(list(seed))
    found: list[Array] = [np.zeros((0, 3), np.int64)]
    for label in np.flatnonzero(np.bincount(targets.ravel())):
        if label not in (0, IGNORE):
            places = np.flatnonzero(targets == label)
            chosen = np.sort(draws.choice(places, min(POINTS, len(places)), replace=False))
            rows, columns = np.divmod(chosen, targets.shape[1])
            found.append(np.stack([np.full_like(rows, label), rows, columns], 1))
    return np.concatenate(found).astype(np.int32)

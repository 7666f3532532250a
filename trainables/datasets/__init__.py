"""Data sets, one file each: named images with labels, split so that no region is in two splits."""

from __future__ import annotations

import abc
import functools
import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.part import Part, require

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Image:
    """One region of one subject, in one split."""

    name: str
    group: str
    """Patient, slide or slab: images of one group are not independent of each other."""
    split: Split
    pixels: NDArray[np.float32]
    """[C, H, W], any scale; normalised later by the training images' statistics."""
    labels: NDArray[np.uint8]
    """[H, W], 0 is background."""
    instances: NDArray[np.int32] | None = None
    """[H, W], the number of the object that a pixel belongs to, 0 for none; None where unknown."""


class Dataset(Part):
    """A task. ``size`` is the side of the square tiles that networks see, in pixels."""

    kind: ClassVar[str] = "datasets"
    classes: ClassVar[tuple[str, ...]]
    """Class names, background first."""
    channels: ClassVar[int]
    licence: ClassVar[str]
    citation: ClassVar[str]

    size: int

    @abc.abstractmethod
    def read(self) -> list[Image]:
        """All images, decoded; sorted by name within each split."""

    def images(self) -> list[Image]:
        """:meth:`read`, once per process."""
        return _read_once(self)

    def content_hash(self) -> str:
        """A hash over every pixel, label, name and split: changing one mask changes it."""
        return _hash_once(self)


@functools.lru_cache(maxsize=4)
def _read_once(dataset: Dataset) -> list[Image]:
    images = dataset.read()
    require({i.split for i in images} == set(SPLITS), f"{dataset.name}: a split has no image")
    for i in images:
        require(
            bool(np.isfinite(i.pixels).all()), f"{dataset.name}: {i.name} has a NaN or inf pixel"
        )
        require(
            i.pixels.shape[1:] == i.labels.shape,
            f"{dataset.name}: {i.name} is {i.pixels.shape[1:]} but its mask is {i.labels.shape}",
        )
        require(
            i.instances is None or i.instances.shape == i.labels.shape,
            f"{dataset.name}: {i.name} is {i.labels.shape} but its instances are"
            f" {i.instances.shape if i.instances is not None else None}",
        )
        require(
            i.pixels.shape[0] == dataset.channels,
            f"{dataset.name}: {i.name} has {i.pixels.shape[0]} channels, not {dataset.channels}",
        )
        require(
            int(i.labels.max()) < len(dataset.classes),
            f"{dataset.name}: {i.name} has label {i.labels.max()},"
            f" beyond its classes {dataset.classes}",
        )
    return images


@functools.lru_cache(maxsize=64)
def _hash_once(dataset: Dataset) -> str:
    total = hashlib.sha256()
    for i in dataset.images():
        total.update(f"{i.name}|{i.group}|{i.split}|{i.pixels.shape}".encode())
        total.update(np.ascontiguousarray(i.pixels).tobytes())
        total.update(np.ascontiguousarray(i.labels).tobytes())
        if i.instances is not None:
            total.update(np.ascontiguousarray(i.instances).tobytes())
    return total.hexdigest()[:16]

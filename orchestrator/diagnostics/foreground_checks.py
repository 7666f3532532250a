"""Warnings where held-out images have too little foreground for a score that means something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.datasets import Dataset, Problem
from trainables.decoding.loaded import class_counts
from trainables.labels import FEW


def in_tiles(labels_HW: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the part of a mask that tiles side by side cover; the remainder is in no tile.

    >>> in_tiles(np.zeros((5, 9), np.uint8), 4).shape, in_tiles(np.zeros((3, 9), np.uint8), 4).shape
    ((4, 8), (3, 8))
    """
    height, width = (side - side % size if side > size else side for side in labels_HW.shape)
    return labels_HW[:height, :width]


def tiled_counts(labels_HW: NDArray[np.uint8], dataset: Dataset) -> list[int]:
    """Return the pixels of each class that tiles of a data set's size cover."""
    covered = in_tiles(labels_HW, dataset.size) if dataset.longest == 0 else labels_HW
    return [int(n) for n in class_counts(covered, len(dataset.classes))]


def too_few(
    classes: Iterable[str], split: str, size: int, pixels: Sequence[int], tiled: Sequence[int]
) -> Iterator[Problem]:
    """Yield a warning for each class with a handful of pixels in a held-out split or its tiles.

    ``classes``, ``pixels`` and ``tiled`` list the foreground classes. A class that no mask contains
    is another warning.
    """
    if split == "train":
        return
    for name, total, covered in zip(classes, pixels, tiled, strict=True):
        if 0 < total < FEW:
            rule = f"this split has {total} pixels of {name}, fewer than {FEW}: scores are chance"
            yield Problem(split, rule, fatal=False)
        elif total and covered < FEW:
            rule = (
                f"tiles of {size} pixels cover {covered} of the {total} pixels of {name}: do not"
                " use test.unit tiles, or use a size that divides the images"
            )
            yield Problem(split, rule, fatal=False)

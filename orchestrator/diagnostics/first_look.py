"""The fields that the masks of an unknown data set ask for: classes, objects, or neither."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from trainables.datasets import Dataset
from trainables.datasets.folder import Folder
from trainables.datasets.nifti import NIfTI
from trainables.decoding.images import read_stored
from trainables.decoding.labels import Legend, listed
from trainables.decoding.layout import MASKS, by_key
from trainables.decoding.matching import paired
from trainables.decoding.pairs import Pair
from trainables.decoding.volumes import SUFFIXES, read_voxels

MOST_MASKS = 50
"""The masks that are looked at."""
FEW_VALUES = 8
"""Up to so many numbers besides 0 may be classes; more are objects, or not understood."""
SINGLE_SHARE = 0.8
"""The least share of numbers that form one connected region each, for them to be objects."""
IGNORED = 255
"""The number that usually marks pixels that count nowhere, where there are several others."""
NEIGHBOURS = np.ones((3, 3), np.uint8)

Mask = NDArray[Any]


class UnclearError(ValueError):
    """The masks can mean several things."""


def mask_fields(dataset: Dataset) -> dict[str, Any]:
    """Return the fields for the numbers in the masks; empty where those of two classes suffice.

    Raises:
        UnclearError: the numbers may be classes as well as objects, or neither.
    """
    if isinstance(dataset, Folder):
        return _fields(list(itertools.islice(_images(dataset), MOST_MASKS)), flat=True)
    if isinstance(dataset, NIfTI):
        return _fields(list(itertools.islice(_volumes(dataset), MOST_MASKS)), flat=False)
    return {}


def _images(dataset: Folder) -> Iterator[Mask]:
    """Yield the masks that have a number per pixel; the layout says what several masks mean."""
    for pair in paired(dataset.tree(), Legend(dataset.classes)):
        if isinstance(pair, Pair) and pair.combine == "one":
            try:
                stored = read_stored(pair.mask)
            except ValueError:  # the check names it
                continue
            if stored.values.ndim == 2 and not stored.lossy and stored.values.dtype.kind in "iu":
                yield stored.values


def _volumes(dataset: NIfTI) -> Iterator[Mask]:
    for file in itertools.chain.from_iterable(by_key(dataset.tree(), MASKS, SUFFIXES).values()):
        try:
            yield np.round(read_voxels(file).values).astype(np.int64)
        except ValueError:  # the check names it
            continue


def _fields(masks: list[Mask], *, flat: bool) -> dict[str, Any]:
    """Return the fields for some masks; ``flat``: their numbers may be objects."""
    numbers = [np.unique(mask) for mask in masks]
    every = sorted({int(n) for each in numbers for n in each})
    if len(every) <= 2 or set(every) <= {0, 1}:
        return {}
    several = [n for n in every if n not in (0, IGNORED)]
    if len(several) > FEW_VALUES:
        if flat and _single_share(masks) >= SINGLE_SHARE:
            return {"objects": True}
        raise UnclearError(_unclear(every))
    counted = all(
        each[each > 0].tolist() == list(range(1, int(each.max()) + 1)) for each in numbers
    )
    varies = len({len(each) for each in numbers}) > 1
    if flat and counted and varies and _single_share(masks) >= SINGLE_SHARE:
        raise UnclearError(_unclear(every))
    if every == list(range(len(every))):
        return {"foreground": [f"class_{n}" for n in every[1:]]}
    return {"values": {str(n): _class_name(n) for n in every}}


def _class_name(number: int) -> str:
    return {0: "background", IGNORED: "ignore"}.get(number, f"class_{number}")


def _single_share(masks: Iterable[Mask]) -> float:
    """Return the share of numbers in a mask that form one connected region."""
    single = [
        scipy.ndimage.label(mask == number, NEIGHBOURS)[1] == 1
        for mask in masks
        for number in np.unique(mask)
        if number != 0
    ]
    return float(np.mean(single)) if single else 0.0


def _unclear(numbers: list[int]) -> str:
    return (
        f"its masks have the numbers {listed(np.array(numbers))}, which may be classes or objects:"
        " say --set objects=true for one number per object, or"
        f""" --set 'foreground=["a", "b", ...]' for classes"""
    )

"""Mask values to labels: the numbers that stand for the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.01
"""Largest distance of a mask value from the whole number that it stands for."""
SHOWN = 8

Array = NDArray[Any]


@dataclass(frozen=True)
class Legend:
    """The classes of a mask, and the numbers that stand for them."""

    classes: tuple[str, ...]
    """Names, background first."""
    numbers: tuple[int, ...] = ()
    """One per class; empty: 0, 1, ..., and of two classes 0 and the largest value as well."""

    @property
    def two(self) -> bool:
        """Whether a mask may be black and white."""
        return len(self.classes) == 2 and not self.numbers

    def __str__(self) -> str:
        numbers = self.numbers or range(len(self.classes))
        return ", ".join(f"{k} {name}" for k, name in zip(numbers, self.classes, strict=True))


def to_labels(values: Array, legend: Legend, *, most: int = 0) -> NDArray[np.uint8]:
    """Mask values to labels 0..K−1.

    Whole numbers within :data:`TOLERANCE` are classes. Two classes may also be 0 and 255, or 0 and
    the largest value of the type (``most``, where samples have fewer bits than their type).

    Raises:
        ValueError: names the values that are no class.
    """
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
        most = 1
    if values.dtype.kind not in "iuf":
        raise ValueError(f"has mask values of type {values.dtype}, must be numbers")
    found = distinct(values)
    if found.dtype.kind == "f":
        whole = np.round(found)
        if np.isfinite(found).all() and (np.abs(found - whole) <= TOLERANCE).all():
            values, found = np.round(values), np.unique(whole)
    if legend.two:
        largest = most or (int(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 255)
        for white in (255, largest):
            if set(found.tolist()) <= {0, white}:
                return (values == white).astype(np.uint8)
    numbers = legend.numbers or range(len(legend.classes))
    if not set(found.tolist()) <= set(numbers):
        raise ValueError(f"has mask values {listed(found)}; the classes are {legend}")
    if not legend.numbers:
        return values.astype(np.uint8)
    labels = np.zeros(values.shape, np.uint8)
    for k, number in enumerate(numbers):
        labels[values == number] = k
    return labels


def distinct(values: Array) -> Array:
    """All values that occur, sorted."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel()))
    return np.unique(values)


def listed(found: Array) -> str:
    """The first values, with as many digits as distinguish them from whole numbers."""
    more = ", ..." if len(found) > SHOWN else ""
    return ", ".join(_digits(v) for v in found[:SHOWN].tolist()) + more


def _digits(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)

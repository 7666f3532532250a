"""Mask values to labels: the numbers that stand for the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.labels import IGNORE
from trainables.part import Numbered, require

TOLERANCE = 0.01
"""Largest distance of a mask value from the whole number that it stands for."""
SHOWN = 8
IGNORED = "ignore"
"""The name of mask values whose pixels count nowhere."""
BACKGROUND = "background"

Array = NDArray[Any]


@dataclass(frozen=True)
class Legend:
    """The classes of a mask, and the numbers that stand for them."""

    classes: tuple[str, ...]
    """Names, background first."""
    values: Numbered = ()
    """The class of each number; empty: 0, 1, ..., and of two classes 0 and the largest value."""

    @cached_property
    def labels(self) -> Mapping[int, int]:
        """The label of each number: 0..K−1, or :data:`IGNORE`."""
        if not self.values:
            return {k: k for k in range(len(self.classes))}
        place = {name: k for k, name in enumerate(self.classes)} | {IGNORED: IGNORE}
        return {number: place[name] for number, name in self.values}

    @property
    def two(self) -> bool:
        """Whether a mask may be black and white."""
        return len(self.classes) == 2 and not self.values

    @property
    def ignores(self) -> bool:
        """Whether a number stands for pixels that count nowhere."""
        return ignores(self.values)

    def __str__(self) -> str:
        named = self.values or enumerate(self.classes)
        return ", ".join(f"{number} {name}" for number, name in named)


def ignores(values: Numbered) -> bool:
    """Whether a number stands for pixels that count nowhere."""
    return any(name == IGNORED for _, name in values)


def classes_of(values: Numbered) -> tuple[str, ...]:
    """Return the names of the classes: the background, then by their lowest number.

    The background is the class of that name, or else the class of the lowest number.

    >>> classes_of(((0, "void"), (2, "liver"), (5, "tumour"), (6, "liver"), (255, "ignore")))
    ('void', 'liver', 'tumour')
    >>> classes_of(((1, "pet"), (2, "background"), (3, "ignore")))
    ('background', 'pet')
    """
    names = list(dict.fromkeys(name for _, name in values if name != IGNORED))
    return tuple(sorted(names, key=lambda name: name != BACKGROUND))


def check_values(values: Numbered, **names: bool) -> None:
    """Refuse a map of mask values that names fewer than two classes, or names beside it.

    ``names`` are the other fields that name classes: whether each has its default.
    """
    if not values:
        return
    shown = dict(values)
    require(
        len(classes_of(values)) >= 2 and all(name for _, name in values),
        f"values={shown} must name two classes or more, and no class with an empty name",
    )
    given = [name for name, default in names.items() if not default]
    require(not given, f"values={shown} names the classes: leave out {', '.join(given)}")


def _cure(found: Array, undeclared: Array, legend: Legend, most: int) -> str:
    """What to do about the values of a mask that stand for no class."""
    if legend.values:
        return ""
    classes = "if each number is a class, set values"
    if not legend.two or len(undeclared) == 1:
        return f"; {classes}"
    gaps = found[0] == 0 and found[-1] in (255, most) and len(found) <= found[-1]
    if gaps or (found[0] == 0 and found[-1] <= 1):
        return "; these look like grey levels, of a resampled mask or a probability map: cut them"
    return f"; if each number is an object, set objects=true (of folder and torch_em); {classes}"


def to_labels(values: Array, legend: Legend, *, most: int = 0) -> NDArray[np.uint8]:
    """Mask values to labels 0..K−1, or :data:`IGNORE`.

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
    undeclared = np.array([v for v in found.tolist() if v not in legend.labels])
    if len(undeclared):
        rule = f"has mask values {listed(undeclared)} that stand for no class; the classes are"
        raise ValueError(f"{rule} {legend}{_cure(found, undeclared, legend, most)}")
    if not legend.values:
        return values.astype(np.uint8)
    labels = np.zeros(values.shape, np.uint8)
    for number, label in legend.labels.items():
        labels[values == number] = label
    return labels


def is_white(values: Array, labels: Array, legend: Legend, most: int = 0) -> bool | None:
    """Whether the foreground of two classes is stored as white, not as 1; None where both are one.

    ``most`` is as for :func:`to_labels`.
    """
    if not legend.two or values.dtype == np.bool_ or most == 1 or not labels.any():
        return None
    return bool(values[labels == 1].max() > 1 + TOLERANCE)


def distinct(values: Array) -> Array:
    """All values that occur, sorted."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel()))
    return np.unique(values)


def listed(found: Array) -> str:
    """The first values, with as many digits as distinguish them from whole numbers."""
    more = f", ... ({len(found)} values)" if len(found) > SHOWN else ""
    return ", ".join(_digits(v) for v in found[:SHOWN].tolist()) + more


def _digits(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)

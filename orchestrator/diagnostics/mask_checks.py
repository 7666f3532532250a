"""Signs of wrong masks: two polarities, swapped classes, copies, another orientation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes

from orchestrator.formatting import plural
from trainables.datasets import Dataset, Problem, Raster
from trainables.labels import IGNORE

GAP = 0.25
"""Distance of the foreground shares of two groups of masks, above which they are two kinds."""
LARGE = 0.6
"""Foreground share above which background and foreground may be swapped."""
NEARLY_ALL = 0.9
"""Share of the masks that counts as nearly all."""
DEVIATION = 3.5
"""Robust standard deviations from the median, in logits, beyond which a share is an outlier."""
SCATTERED = 0.1
"""Share of single pixels in the foreground above which a mask is no object."""
MOST_LINES = 0.5
"""Share of a class's pixels in lines one pixel wide above which it may be interpolated."""
NAMED = 3
"""Cases that a warning names."""
FEWEST = 5
"""Images that a comparison of orientations needs."""
MOSTLY = 0.8
"""Share of the images in which turned outlines must fit better."""
STRONGER = math.log(1.5)
"""Logarithm of the ratio of edge strengths along turned and stored outlines."""

Turn = Callable[[NDArray[Any]], NDArray[Any]]
MIRRORED: dict[str, Turn] = {
    "mirrored left to right": lambda a: a[:, ::-1],
    "mirrored upside down": lambda a: a[::-1],
    "turned by 180°": lambda a: a[::-1, ::-1],
}
TURNED: dict[str, Turn] = {
    "transposed": lambda a: a.T,
    "turned by 90°": lambda a: np.rot90(a),  # noqa: PLW0108 - its type has overloads
    "turned by 270°": lambda a: np.rot90(a, 3),
    "transposed and turned by 180°": lambda a: a.T[::-1, ::-1],
}
"""The further orientations of square images."""


class Case(NamedTuple):
    """The foreground of one mask."""

    file: str
    share: float
    """The share of the pixels that count that is foreground."""
    border: float
    """The share of the border's pixels that is foreground."""
    mask: int
    """A hash of the mask; 0 where it has one value."""
    outline: bool = False
    """Whether the foreground is a thin line around at least as much background."""
    single: float = 0.0
    """Share of the foreground pixels without a neighbour to the left, right, top or bottom."""
    ignored: float = 0.0
    """The share of all pixels that is to be ignored."""
    between: tuple[int, ...] = ()
    """Classes that are mostly lines one pixel wide between a lower and a higher label."""
    has: tuple[int, ...] = ()
    """The labels that occur."""
    white: bool | None = None
    """As of :class:`~trainables.interfaces.dataset.Raster`."""


def case_of(file: str, labels: NDArray[np.uint8], white: bool | None = None) -> Case:
    """The shares of one mask."""
    ignored = labels == IGNORE
    inside, counts = (labels > 0) & ~ignored, ~ignored

    def share(edges: bool) -> float:
        parts = [(m[0], m[-1], m[:, 0], m[:, -1]) if edges else (m,) for m in (inside, counts)]
        of, pixels = (sum(int(p.sum()) for p in part) for part in parts)
        return of / max(1, pixels)

    content = hash((labels.shape, labels.tobytes())) if (labels != labels[0, 0]).any() else 0
    shapes = _outline(inside), _single(inside)
    has = tuple(np.flatnonzero(np.bincount(labels[counts])).tolist())
    between = tuple(k for k in has[1:-1] if _between(labels, k))
    shares = share(False), share(True)
    return Case(file, *shares, content, *shapes, float(ignored.mean()), between, has, white)


def _between(labels_HW: NDArray[np.uint8], k: int) -> bool:
    """Whether a class is mostly lines one pixel wide between a lower and a higher label.

    Labels that were interpolated as numbers are so: between 0 and 2 they are 1.
    """
    mine = labels_HW == k
    beside = [
        binary_dilation(side, np.ones((3, 3), bool))
        for side in (labels_HW < k, (labels_HW > k) & (labels_HW != IGNORE))
    ]
    return int((mine & beside[0] & beside[1]).sum()) > MOST_LINES * int(mine.sum())


def _outline(inside_HW: NDArray[np.bool_]) -> bool:
    if not inside_HW.any() or binary_erosion(inside_HW, np.ones((3, 3), bool)).any():
        return False
    return int(binary_fill_holes(inside_HW).sum()) >= 2 * int(inside_HW.sum())


def _single(inside_HW: NDArray[np.bool_]) -> float:
    around = np.pad(inside_HW, 1)
    beside = around[1:-1, :-2] | around[1:-1, 2:] | around[:-2, 1:-1] | around[2:, 1:-1]
    return float((inside_HW & ~beside).sum() / max(1, int(inside_HW.sum())))


def shapes(place: str, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning where nearly all masks are outlines, or single pixels as of a dithered photo."""
    filled = [c for c in cases if c.share > 0]
    outlines = [c for c in filled if c.outline]
    scattered = [c for c in filled if c.single > SCATTERED]
    if filled and len(outlines) >= NEARLY_ALL * len(filled):
        rule = f"masks are thin lines around background, such as {_names(outlines)}: fill them?"
        yield Problem(place, rule, fatal=False)
    if filled and len(scattered) >= NEARLY_ALL * len(filled):
        rule = f"masks are scattered single pixels, such as {_names(scattered)}: are they masks?"
        yield Problem(place, rule, fatal=False)


def suspicions(dataset: Dataset, cases: Mapping[str, Sequence[Case]]) -> Iterator[Problem]:
    """Warnings from the masks alone, over all splits, because one of them may be inverted."""
    every = [case for of_split in cases.values() for case in of_split]
    yield from polarities(dataset.where, every)
    if len(dataset.classes) == 2:
        yield from swapped(dataset.where, every)
    yield from copied(dataset.where, every)
    yield from shapes(dataset.where, every)
    yield from ignored(dataset.where, every)
    yield from interpolated(dataset, every)
    yield from two_whites(dataset.where, every)
    if every and not any(0 in c.has for c in every):
        rule = f"no mask has a pixel of {dataset.classes[0]}: do its numbers begin at 0?"
        yield Problem(dataset.where, rule, fatal=False)


def ignored(place: str, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning where the pixels to be ignored may be the foreground, or all there is."""
    nothing = [c for c in cases if c.ignored == 1]
    if nothing:
        rule = f"masks have no pixel that counts, such as {_names(nothing)}: left out"
        yield Problem(place, rule, fatal=False)
    hidden = [c for c in cases if 0 < c.ignored < 1 and c.share == 0]
    if hidden:
        rule = (
            f"{plural(len(hidden), 'mask')} with pixels to be ignored and no foreground, such as"
            f" {_names(hidden)}: is their foreground ignored?"
        )
        yield Problem(place, rule, fatal=False)


def interpolated(dataset: Dataset, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning for each class that is nothing but lines between two others."""
    for k, name in enumerate(dataset.classes):
        filled = [c for c in cases if k in c.has]
        lines = [c for c in cases if k in c.between]
        if filled and len(lines) >= NEARLY_ALL * len(filled):
            rule = (
                f"{name} is lines one pixel wide between two other classes, such as in"
                f" {_names(lines)}: were labels interpolated as numbers?"
            )
            yield Problem(dataset.where, rule, fatal=False)


def two_whites(place: str, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning where the foreground is 1 in some masks and white in others."""
    ones, whites = ([c for c in cases if c.white is white] for white in (False, True))
    if ones and whites:
        rule = (
            f"foreground is 1 in {plural(len(ones), 'mask')}, such as {_names(ones)}, and white in"
            f" {len(whites)}, such as {_names(whites)}: is white something else, as to be ignored?"
        )
        yield Problem(place, rule, fatal=False)


def polarities(place: str, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning where some masks look inverted, and others do not."""
    low = [c for c in cases if 0 < c.share < 0.5 and c.border < 0.5]
    high = [c for c in cases if c.share > 0.5 and c.border > 0.5]
    if not low or not high:
        return
    shares = np.array([c.share for c in cases if c.share > 0])
    below, above = shares[shares < 0.5], shares[shares >= 0.5]
    if np.quantile(below, 0.9) + GAP > np.quantile(above, 0.1):
        return
    fewer = min(low, high, key=len)
    rule = (
        f"foreground is {np.median(below):.1%} of {plural(len(low), 'image')} and"
        f" {np.median(above):.1%} of {len(high)}, with their borders: some masks may be"
        f" inverted, such as {_names(fewer)}"
    )
    yield Problem(place, rule, fatal=False)


def _names(cases: Sequence[Case]) -> str:
    more = f" and {len(cases) - NAMED} more" if len(cases) > NAMED else ""
    return ", ".join(c.file for c in cases[:NAMED]) + more


def swapped(place: str, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning where nearly all images are foreground, from border to border."""
    filled = [c for c in cases if c.share > 0]
    large = [c for c in filled if c.share > LARGE and c.border > 0.5]
    if filled and len(large) >= NEARLY_ALL * len(filled):
        median = np.median([c.share for c in large])
        rule = (
            f"foreground is {median:.0%} of the median image, and its border: are foreground and"
            " background swapped?"
        )
        yield Problem(place, rule, fatal=False)


def copied(place: str, cases: Sequence[Case]) -> Iterator[Problem]:
    """A warning where most images have one and the same mask."""
    counts = Counter(c.mask for c in cases if c.mask)
    if counts:
        mask, count = counts.most_common(1)[0]
        if count > 2 and count > len(cases) / 2:
            same = [c for c in cases if c.mask == mask]
            yield Problem(place, f"{count} images have the same mask: {_names(same)}", fatal=False)


def outliers(cases: Sequence[Case]) -> list[Case]:
    """Cases whose foreground share is far from the median, the farthest first; of non-empty masks.

    Distances are of logits, in units of 1.4826 times their median absolute deviation.
    """
    filled = [c for c in cases if c.share > 0]
    if len(filled) < FEWEST:
        return []
    shares = np.array([c.share for c in filled]).clip(1e-4, 1 - 1e-4)
    logits = np.log(shares / (1 - shares))
    away = np.abs(logits - np.median(logits))
    unit = max(1.4826 * float(np.median(away)), 0.25)
    order = np.argsort(-away, kind="stable")
    return [filled[i] for i in order if away[i] > DEVIATION * unit]


@dataclass
class Orientation:
    """Whether the outlines of the masks lie on edges of the images, as stored or turned."""

    def __post_init__(self) -> None:
        self.stored: list[float] = []
        """Per image, the log ratio of edge strength along the outlines and in the whole image."""
        self.gains: dict[str, list[float]] = defaultdict(list)
        """Per turn and image, the log ratio of edge strength along turned and stored outlines."""

    def add(self, raster: Raster) -> None:
        """Compare the outlines of one mask with the edges of its image."""
        edges = _steps(raster.pixels.astype(np.float32).mean(0))
        known = np.where(raster.labels == IGNORE, 0, raster.labels)
        outline = _steps(known.astype(np.float32)) > 0
        everywhere = float(edges.mean())
        if not outline.any() or everywhere <= 0:
            return
        floor = 0.05 * everywhere
        here = math.log(max(float(edges[outline].mean()), floor))
        self.stored.append(here - math.log(everywhere))
        square = raster.labels.shape[0] == raster.labels.shape[1]
        for name, turn in {**MIRRORED, **(TURNED if square else {})}.items():
            there = math.log(max(float(edges[turn(outline)].mean()), floor))
            self.gains[name].append(there - here)

    def problems(self, place: str) -> Iterator[Problem]:
        """A warning where the outlines fit the edges only when the masks are turned."""
        if len(self.stored) < FEWEST or np.mean(self.stored) > STRONGER:
            return
        means = {name: float(np.mean(gains)) for name, gains in self.gains.items()}
        best = max(means, key=lambda name: means[name])
        gains = np.array(self.gains[best])
        if (
            len(gains) == len(self.stored)
            and means[best] > STRONGER
            and (gains > 0).mean() >= MOSTLY
        ):
            rule = (
                f"outlines of the masks lie on edges of the images only when they are {best}: do"
                " images and masks have one orientation?"
            )
            yield Problem(place, rule, fatal=False)


def _steps(values_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The absolute differences to the pixels below and to the right, the larger one."""
    down, right = np.zeros_like(values_HW), np.zeros_like(values_HW)
    down[:-1] = np.abs(np.diff(values_HW, axis=0))
    right[:, :-1] = np.abs(np.diff(values_HW, axis=1))
    return np.maximum(down, right)

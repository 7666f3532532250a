"""Warnings where images are smaller than a tile, or masks do not number their objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from trainables.datasets import Dataset, Problem

REPEATED = 0.25
"""The largest share of repeated edges in a tile that is not worth a warning."""


def repeated_edges(dataset: Dataset, sizes: Iterable[tuple[int, int]]) -> Iterator[Problem]:
    """Yield a warning if images, of (height, width) pixels, are much smaller than a tile."""
    side, found = dataset.size, sorted(set(sizes))
    scales = [min(1, dataset.longest / max(s)) if dataset.longest else 1 for s in found]
    shares = [
        1 - min(1, scale * h / side) * min(1, scale * w / side)
        for (h, w), scale in zip(found, scales, strict=True)
    ]
    if shares and max(shares) > REPEATED:
        height, width = found[shares.index(max(shares))]
        yield Problem(
            dataset.where,
            f"size={side} is larger than images of {width} x {height}: {max(shares):.0%} of their"
            " tile repeats their edges, in training, in the probe and in scores of tiles; use a"
            " smaller size",
            fatal=False,
        )


class ObjectNumbers:
    """Whether masks of one number per object number their objects."""

    def __init__(self) -> None:
        self.most_numbers = self.most_pieces = 0

    def add(self, instances_HW: NDArray[np.int32] | None) -> None:
        """Count the numbers of a mask, and its pieces if it has a single number."""
        if instances_HW is None:
            return
        numbers = len(np.unique(instances_HW[instances_HW > 0]))
        self.most_numbers = max(self.most_numbers, numbers)
        if self.most_numbers == 1:
            self.most_pieces = max(self.most_pieces, ndimage.label(instances_HW > 0)[1])

    def problems(self, where: str) -> Iterator[Problem]:
        """Yield a warning if every mask has one number for several pieces."""
        if self.most_numbers == 1 and self.most_pieces > 1:
            yield Problem(
                where,
                f"every mask has one number, for up to {self.most_pieces} separate pieces: each"
                " mask is read as one object; give each object a number, or set objects=false",
                fatal=False,
            )

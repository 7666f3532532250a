"""HD95: the larger of the 95 % quantiles of the two directed surface distances, in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio

SHARE = 0.95


@dataclass(frozen=True)
class HD95(Metric):
    """The 95 % Hausdorff distance (Huttenlocher et al. 1993), as MONAI computes it.

    Distances are known to the bin (:mod:`trainables.distance_bins`); that of a bin is its mean. A
    case in which neither mask has the class is left out; where one has it, every distance is the
    diagonal of the image.
    """

    table: ClassVar = "surfaces"
    better: ClassVar = "lower"
    pooled: ClassVar = False

    def value(self, sums: Mapping[str, Array]) -> Array:
        """Return the larger quantile; a mask without surface pixels has none."""
        sides = [
            quantile(sums[f"{side}_count"], sums[f"{side}_distance_sum"])
            for side in ("predicted", "true")
        ]
        return np.fmax(*sides)


def quantile(count: Array, distance_sum: Array) -> Array:
    """Return the quantile of each row of [N, bins], interpolated between order statistics."""
    total = count.sum(1)
    rank = SHARE * np.maximum(total - 1, 0)
    below = np.floor(rank)
    means = ratio(distance_sum, count)
    cumulative = count.cumsum(1)

    def at(position: Array) -> Array:
        place = (cumulative <= position[:, None]).sum(1).clip(max=count.shape[1] - 1)
        return means[np.arange(len(count)), place]

    low, high = at(below), at(np.minimum(below + 1, np.maximum(total - 1, 0)))
    return np.where(total > 0, low + (rank - below) * (high - low), np.nan)

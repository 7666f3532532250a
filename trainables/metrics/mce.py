"""MCE: maximum calibration error of the foreground probability over equal-width bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio, reliability
from trainables.part import require


@dataclass(frozen=True)
class MCE(Metric):
    """The largest |mean p − mean y| of a non-empty bin (Naeini et al. 2015).

    A bin with one pixel counts as much as any other, so the value is large on a small test set.
    ``bins`` must divide the number of stored fine bins.
    """

    table: ClassVar = "calibration"
    better: ClassVar = "lower"
    pooled: ClassVar = True

    bins: int = 15
    """Bins of the probability."""

    def __post_init__(self) -> None:
        require(self.bins >= 1, f"bins={self.bins} must be at least 1")

    @property
    def resolution(self) -> int:
        return self.bins

    def value(self, sums: Mapping[str, Array]) -> Array:
        gap, count = reliability(sums, self.bins)
        return np.fmax.reduce(ratio(gap, count), axis=1)

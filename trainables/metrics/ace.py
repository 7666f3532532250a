"""ACE: average calibration error of the foreground probability over equal-width bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio, reliability
from trainables.part import require


@dataclass(frozen=True)
class ACE(Metric):
    """Mean over non-empty bins of |mean p − mean y| (Neumann, Zisserman & Vedaldi 2018).

    All bins have the same weight, so that the many confident background pixels do not hide the
    uncertain ones. ``bins`` must divide the number of stored fine bins.
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
        return ratio(np.nansum(ratio(gap, count), 1), (count > 0).sum(1).astype(np.float64))

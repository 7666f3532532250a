"""ECE: expected calibration error of the foreground probability, equal-width bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio
from trainables.part import require


@dataclass(frozen=True)
class ECE(Metric):
    """Σ over bins of |Σp − Σy| / Σcount (Naeini et al. 2015; Guo et al. 2017, 1706.04599, eq. 3).

    ``bins`` must divide the number of stored fine bins, so that coarse bins are sums of fine ones.
    """

    table: ClassVar = "calibration"
    better: ClassVar = "lower"
    pooled: ClassVar = True

    bins: int = 15

    def __post_init__(self) -> None:
        require(self.bins >= 1, f"bins={self.bins} must be at least 1")

    def value(self, sums: Mapping[str, Array]) -> Array:
        fine = sums["count"].shape[1]
        require(fine % self.bins == 0, f"bins={self.bins} must divide {fine}, the stored bins")

        def coarse(name: str) -> Array:
            return sums[name].reshape(-1, self.bins, fine // self.bins).sum(2)

        gap = np.abs(coarse("p_sum") - coarse("y_sum")).sum(1)
        return ratio(gap, sums["count"].sum(1))

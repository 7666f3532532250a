"""ECE: expected calibration error of the foreground probability, bins of equal width or mass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Binning, Metric, ratio, reliability
from trainables.part import require


@dataclass(frozen=True)
class ECE(Metric):
    """Σ over bins of |Σp − Σy| / Σcount (Naeini et al. 2015; Guo et al. 2017, 1706.04599, eq. 3).

    ``bins`` of equal ``width`` must divide the number of stored fine bins; bins of equal ``mass``
    have about the same number of pixels each (:func:`trainables.metrics.reliability`).
    """

    table: ClassVar = "calibration"
    better: ClassVar = "lower"
    pooled: ClassVar = True

    bins: int = 15
    """Bins of the probability."""
    binning: Binning = "width"
    """Bins of equal width, or of equal numbers of pixels."""

    def __post_init__(self) -> None:
        require(self.bins >= 1, f"bins={self.bins} must be at least 1")

    @property
    def resolution(self) -> int | None:
        return self.bins if self.binning == "width" else None

    def value(self, sums: Mapping[str, Array]) -> Array:
        gap, count = reliability(sums, self.bins, self.binning)
        return ratio(gap.sum(1), count.sum(1))

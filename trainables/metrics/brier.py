"""Brier score: mean squared error of the foreground probability, exact for any binning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class Brier(Metric):
    """Σ(p − y)² / Σcount over pixels (Brier 1950, Monthly Weather Review 78, binary form)."""

    table: ClassVar = "calibration"
    better: ClassVar = "lower"
    pooled: ClassVar = True

    @property
    def resolution(self) -> int:
        return 1

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["square_sum"].sum(1), sums["count"].sum(1))

"""AJI: aggregated Jaccard index of instances; NaN for a case without instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class AJI(Metric):
    """Kumar et al. 2017 (IEEE TMI 36), algorithm 1: Σ intersection / Σ union, in pixels.

    A case without true and predicted instances is NaN, and a mean over cases omits it. A case with
    predicted instances only is 0.
    """

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["aji_intersection"], sums["aji_union"])

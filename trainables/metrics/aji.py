"""AJI: aggregated Jaccard index of instances; unknown where there is none to find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class AJI(Metric):
    """Kumar et al. 2017 (IEEE TMI 36), algorithm 1: Σ intersection / Σ union, in pixels.

    A case with no instance, true or predicted, is NaN: there was nothing to find, and a mean over
    cases leaves it out. An instance predicted where there is none makes it 0.
    """

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["aji_intersection"], sums["aji_union"])

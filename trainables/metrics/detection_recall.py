"""Share of the true instances that match a predicted one; NaN for a case without instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class DetectionRecall(Metric):
    """TP / (TP + FN) over instances; a pair matches where its IoU is above 0.5."""

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["matched"], sums["true_instances"])

"""Share of the predicted instances that match a true one; NaN for a case without predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class DetectionPrecision(Metric):
    """TP / (TP + FP) over instances; a pair matches where its IoU is above 0.5."""

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["matched"], sums["predicted_instances"])

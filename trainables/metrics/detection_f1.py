"""F1 of the detection of instances; NaN for a case without true and predicted instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class DetectionF1(Metric):
    """2·TP / (2·TP + FP + FN) over instances, which is PQ's recognition quality (1801.00868).

    A pair matches where its IoU is above 0.5, so that no instance has two partners.
    """

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(2 * sums["matched"], sums["true_instances"] + sums["predicted_instances"])

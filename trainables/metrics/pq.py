"""PQ: panoptic quality of the instances of one class; NaN for a case without instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class PQ(Metric):
    """Kirillov et al. 2019 (1801.00868): Σ IoU of matched pairs / (TP + ½·FP + ½·FN).

    The denominator is half the number of true and predicted instances. A case without both is NaN,
    and a mean over cases omits it.
    """

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        instances = sums["true_instances"] + sums["predicted_instances"]
        return ratio(sums["matched_iou_sum"], instances / 2)

"""PQ: panoptic quality of instances of one class; unknown where there is none to find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class PQ(Metric):
    """Kirillov et al. 2019 (1801.00868): Σ IoU of matched pairs / (TP + ½·FP + ½·FN).

    The denominator is half the number of instances, true and predicted. A case with none of
    either is NaN: there was nothing to find, and a mean over cases leaves it out.
    """

    table: ClassVar = "instances"
    better: ClassVar = "higher"
    pooled: ClassVar = False

    def value(self, sums: Mapping[str, Array]) -> Array:
        instances = sums["true_instances"] + sums["predicted_instances"]
        return ratio(sums["matched_iou_sum"], instances / 2)

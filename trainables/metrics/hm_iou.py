"""HM-IoU: mean IoU of members and annotations under their best one-to-one matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class HungarianIoU(Metric):
    """Hungarian-matched IoU (Kohl et al. 2019, 1905.13077): Σ IoU of matched pairs / their number.

    Members and annotations are each repeated up to a common number before they are matched
    (:mod:`trainables.evaluation.diversity`). With one annotation it is the mean IoU of the members.
    """

    table: ClassVar = "samples"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["matched_iou_sum"], sums["matched"])

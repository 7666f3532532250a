"""IoU: TP / (TP + FP + FN); 1 if neither mask contains the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class IoU(Metric):
    """The overlap of two masks relative to their union (Jaccard 1901)."""

    table: ClassVar = "cases"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        """Return the IoU; an empty prediction of an empty mask is correct and counts as 1."""
        tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
        return np.nan_to_num(ratio(tp, tp + fp + fn), nan=1.0)

"""Dice: 2·TP / (2·TP + FP + FN); 1 if neither mask contains the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class Dice(Metric):
    """The overlap of two masks relative to their mean size (Dice 1945)."""

    table: ClassVar = "cases"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        """Return the Dice; an empty prediction of an empty mask is correct and counts as 1."""
        tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
        return np.nan_to_num(ratio(2 * tp, 2 * tp + fp + fn), nan=1.0)

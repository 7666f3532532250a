"""Dice over the cases whose true mask contains the class; NaN for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class DiceForeground(Metric):
    """The Dice of a case with foreground; a mean over cases omits empty ones.

    ``dice`` counts an empty case as 1 or 0, so many empty cases hide how lesions are segmented.
    Metrics Reloaded (Maier-Hein et al. 2024, 2206.01653) reports empty references separately;
    ``empty_kept`` is the complement of this metric.
    """

    table: ClassVar = "cases"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
        return np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan)

"""Share of the cases without the class that are predicted to be empty; NaN for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.metrics import Array, Metric


@dataclass(frozen=True)
class EmptyKept(Metric):
    """1 for an empty prediction of an empty mask, 0 for a false positive of any size.

    Its mean over cases is the specificity at the level of cases.
    """

    table: ClassVar = "cases"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return np.where(sums["tp"] + sums["fn"] > 0, np.nan, (sums["fp"] == 0).astype(np.float64))

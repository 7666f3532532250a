"""Mean Dice of the prediction and each of several annotators; Dice is that with their vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class DiceAnnotators(Metric):
    """The mean over annotators of the Dice of the ensemble's mask and the annotator's mask.

    Two empty masks count as 1. It is known for data sets with several annotators only.
    """

    table: ClassVar = "annotators"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["dice_sum"], sums["dice_count"])

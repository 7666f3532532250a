"""ASSD: the mean distance of the surface pixels of both masks to the other surface, in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class ASSD(Metric):
    """The average symmetric surface distance, over the surface pixels of both masks together.

    A case in which neither mask has the class is left out; where one has it, every distance is the
    diagonal of the image.
    """

    table: ClassVar = "surfaces"
    better: ClassVar = "lower"
    pooled: ClassVar = False

    def value(self, sums: Mapping[str, Array]) -> Array:
        """Return the mean distance; exact, since the distances are summed."""
        distance = sums["predicted_distance_sum"] + sums["true_distance_sum"]
        count = sums["predicted_count"] + sums["true_count"]
        return ratio(distance.sum(1), count.sum(1))

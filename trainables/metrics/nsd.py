"""NSD: the share of the surface pixels within a tolerance of the other surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.distance_bins import FAR, FINE
from trainables.metrics import Array, Metric, ratio
from trainables.part import require


@dataclass(frozen=True)
class NSD(Metric):
    """The normalised surface Dice at a tolerance in pixels (Nikolov et al. 2021, 1809.04430).

    Surface pixels count once each, as in MONAI. A case in which neither mask has the class is left
    out; where one has it, the value is 0.
    """

    table: ClassVar = "surfaces"
    better: ClassVar = "higher"
    pooled: ClassVar = False
    limit: ClassVar = 1.0

    tolerance: float = 2.0
    """A multiple of 1/20 pixel, the width of the stored bins."""

    def __post_init__(self) -> None:
        require(
            0 <= self.tolerance <= FAR and (self.tolerance * FINE) % 1 == 0,
            f"tolerance={self.tolerance} must be a multiple of {1 / FINE} in 0..{FAR}",
        )

    def value(self, sums: Mapping[str, Array]) -> Array:
        """Return the share."""
        count = sums["predicted_count"] + sums["true_count"]
        return ratio(count[:, : int(self.tolerance * FINE) + 1].sum(1), count.sum(1))

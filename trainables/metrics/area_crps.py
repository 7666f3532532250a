"""CRPS of the area: how well the members predict the area that the annotators mark, in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class AreaCRPS(Metric):
    """E|a − A| − ½ E|a − a′| of areas a of members and A of annotations, in pixels or voxels.

    This is the continuous ranked probability score (Gneiting & Raftery 2007, equation 21), averaged
    over the annotations; expectations are means over all ordered pairs, a mask with itself
    included. It is lowest where the members have the distribution of the annotations. With one
    member it is the mean absolute error of the area.
    """

    table: ClassVar = "samples"
    better: ClassVar = "lower"
    pooled: ClassVar = False

    def value(self, sums: Mapping[str, Array]) -> Array:
        across = ratio(sums["truth_area_gap_sum"], sums["truth_pairs"])
        return across - ratio(sums["member_area_gap_sum"], sums["member_pairs"]) / 2

"""GED: squared generalised energy distance between an ensemble's members and the annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class GED(Metric):
    """2·E d(S, Y) − E d(S, S′) − E d(Y, Y′) with d = 1 − IoU (Kohl et al. 2018, 1806.05034).

    Expectations are means over all ordered pairs, a mask with itself included. The value is never
    negative, and 0 where members and annotations have the same distribution. It depends on the
    number of members. For one annotation and one member it is 2·(1 − IoU).
    """

    table: ClassVar = "samples"
    better: ClassVar = "lower"
    pooled: ClassVar = False
    limit: ClassVar = 2.0

    def value(self, sums: Mapping[str, Array]) -> Array:
        across, within, between = (
            ratio(sums[f"{who}_iou_sum"], sums[f"{who}_pairs"])
            for who in ("truth", "member", "annotation")
        )
        return within + between - 2 * across

"""NLL: negative log-likelihood of the foreground probability, in nats per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.metrics import Array, Metric, ratio


@dataclass(frozen=True)
class NLL(Metric):
    """−Σ log p(y) / Σcount over pixels: the logarithmic score (Gneiting & Raftery 2007, JASA 102).

    A confident error has a finite cost, because the stored sums clamp p away from 0 and 1. With few
    members, whose mean is often exactly 0 or 1, the value depends on the bound of the clamp
    (:func:`trainables.evaluation.counts.histogram`).
    """

    table: ClassVar = "calibration"
    better: ClassVar = "lower"
    pooled: ClassVar = True

    @property
    def resolution(self) -> int:
        return 1

    def value(self, sums: Mapping[str, Array]) -> Array:
        return ratio(sums["nll_sum"].sum(1), sums["count"].sum(1))

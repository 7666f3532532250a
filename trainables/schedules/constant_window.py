"""Constant window: every λ between two levels equally often."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class ConstantWindow(Schedule):
    """λ(t) falls linearly from ``log_snr_high`` to ``log_snr_low``.

    The reference among schedules: under it alone a weight per step is a weight per λ (the measure
    of Kingma et al. 2021, arXiv 2107.00630, in which the bound depends on the ends only).
    """

    log_snr_high: float = 5.0
    log_snr_low: float = -5.0

    def __post_init__(self) -> None:
        require(
            self.log_snr_low < self.log_snr_high,
            f"log_snr_low={self.log_snr_low} must be below log_snr_high={self.log_snr_high}",
        )

    def log_snr(self, t: Tensor) -> Tensor:
        return self.log_snr_high + t * (self.log_snr_low - self.log_snr_high)

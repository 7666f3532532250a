"""Constant window: λ is uniform between two levels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class ConstantWindow(Schedule):
    """λ(t) falls linearly from ``log_snr_high`` to ``log_snr_low``.

    It is the reference among schedules: only under it is a weight per step a weight per λ, the
    measure in which the variational bound depends on the ends only (Kingma et al. 2021, arXiv
    2107.00630).
    """

    log_snr_high: float = 5.0
    """λ at t = 0."""
    log_snr_low: float = -5.0
    """λ at t = 1."""

    def __post_init__(self) -> None:
        require(
            self.log_snr_low < self.log_snr_high,
            f"log_snr_low={self.log_snr_low} must be below log_snr_high={self.log_snr_high}",
        )

    def log_snr(self, t: Tensor) -> Tensor:
        return self.log_snr_high + t * (self.log_snr_low - self.log_snr_high)

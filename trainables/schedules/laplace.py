"""Laplace: λ has a Laplace density, which concentrates training steps near its location."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Laplace(Schedule):
    """λ(t) is the Laplace quantile at 1 − t (Hang et al. 2024, arXiv 2407.03297).

    λ = location − scale·sgn(t − ½)·|log(1 − |2t − 1|)| is infinite at both ends, so the density is
    truncated at the distance ``span`` from ``location``. The defaults 0 and 0.5 are the paper's.
    """

    location: float = 0.0
    """The log-SNR at which the density is largest."""
    scale: float = 0.5
    """The width of the density in log-SNR."""
    span: float = 10.0
    """λ runs from location + span to location − span."""

    def __post_init__(self) -> None:
        require(0.01 <= self.scale <= 100, f"scale={self.scale} must lie in [0.01, 100]")
        require(self.span > 0, f"span={self.span} must be positive")

    def log_snr(self, t: Tensor) -> Tensor:
        near = torch.minimum(t, 1 - t)
        # log of the mass beyond λ, both tails: 2·near + (1 − 2·near)·exp(−span/scale).
        beyond = torch.logaddexp(
            torch.log(2 * near), torch.log1p(-2 * near) - self.span / self.scale
        )
        distance = -self.scale * beyond
        return self.location + torch.where(t < 0.5, distance, -distance)

"""Cauchy: λ has a Cauchy density, with heavier tails than the Laplace schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Cauchy(Schedule):
    """λ(t) is the Cauchy quantile at 1 − t (Hang et al. 2024, arXiv 2407.03297).

    λ = location + scale·tan(π(1 − 2t)/2) is infinite at both ends, so the density is truncated at
    the distance ``span`` from ``location``.
    """

    location: float = 0.0
    """The log-SNR at which the density is largest."""
    scale: float = 1.0
    """The width of the density in log-SNR."""
    span: float = 10.0
    """λ runs from location + span to location − span."""

    def __post_init__(self) -> None:
        require(0.01 <= self.scale <= 100, f"scale={self.scale} must lie in [0.01, 100]")
        require(self.span > 0, f"span={self.span} must be positive")

    def log_snr(self, t: Tensor) -> Tensor:
        # The angle is measured from the nearer end, where the tangent is steep.
        near = torch.minimum(t, 1 - t)
        cut = math.atan(self.scale / self.span)
        distance = self.scale / torch.tan(cut + near * (math.pi - 2 * cut))
        return self.location + torch.where(t < 0.5, distance, -distance)

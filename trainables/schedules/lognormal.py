"""Log-normal: σ is log-normal, so λ has a normal density (EDM)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule
from trainables.torch_calls import normal_quantile


@dataclass(frozen=True)
class LogNormal(Schedule):
    """ln σ ~ N(mean, std²) for data of spread 0.5 (Karras et al. 2022, arXiv 2206.00364, table 1).

    σ is the noise relative to the factor of the signal, λ = −2 ln σ. For data of another standard
    deviation the same noise is σ·sigma_data/0.5, so λ(t) = −2(mean + std·Φ⁻¹(t)) − 2 ln(sigma_data
    /0.5). Masks of ±1 with prevalence p have sigma_data = 2·sqrt(p(1 − p)). The density is
    truncated at the distance ``span`` from its median.
    """

    mean: float = -1.2
    """Mean of ln σ."""
    std: float = 1.2
    """Standard deviation of ln σ."""
    sigma_data: float = 0.5
    """Standard deviation of the data."""
    span: float = 10.0
    """λ is cut to ±span around its median."""

    def __post_init__(self) -> None:
        require(self.sigma_data > 0, f"sigma_data={self.sigma_data} must be positive")
        require(self.span > 0, f"span={self.span} must be positive")
        require(
            self.span / 70 <= self.std <= 100,
            f"std={self.std} must lie in [span/70, 100] with span={self.span}:"
            " a wider cut has no mass in double precision",
        )

    def log_snr(self, t: Tensor) -> Tensor:
        median = -2 * self.mean - 2 * math.log(self.sigma_data / 0.5)
        # Quantiles from the nearer end, so that both tails are those of small probabilities.
        near = torch.minimum(t, 1 - t)
        cut = math.erfc(self.span / (2 * self.std) / math.sqrt(2)) / 2
        distance = -2 * self.std * normal_quantile(cut + near * (1 - 2 * cut))
        return median + torch.where(t < 0.5, distance, -distance)

"""Linear: the variance β added per step grows linearly (DDPM)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Linear(Schedule):
    """Ho et al. 2020 (arXiv 2006.11239, section 4): β from 1e-4 to 0.02 in T = 1000 steps.

    The curve passes through the T points of the discrete process, t = i/(T−1), and is linear in λ
    between them.
    """

    beta_first: float = 1e-4
    """β of the first step."""
    beta_last: float = 0.02
    """β of the last step."""
    timesteps: int = 1000
    """Steps of the process."""

    def __post_init__(self) -> None:
        require(self.timesteps >= 2, f"timesteps={self.timesteps} must be at least 2")
        require(
            0 < self.beta_first <= self.beta_last < 1,
            f"beta_first={self.beta_first}, beta_last={self.beta_last} must rise within (0, 1)",
        )

    @functools.cached_property
    def _table(self) -> Tensor:
        """λ at the T discrete steps: log(ᾱ/(1−ᾱ)) with ᾱ = Π(1−β) (Ho et al., eq. 4)."""
        beta = torch.linspace(self.beta_first, self.beta_last, self.timesteps, dtype=torch.float64)
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))

    def log_snr(self, t: Tensor) -> Tensor:
        position = t * (self.timesteps - 1)
        below = position.floor().long().clamp(0, self.timesteps - 2)
        return torch.lerp(self._table[below], self._table[below + 1], position - below)

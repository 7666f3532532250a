"""DDIM: deterministic at η = 0, ancestral at η = 1, any number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.diffusion import alpha_sigma, as_images, to_eps
from trainables.part import require
from trainables.samplers import Denoise, Noise, Sampler
from trainables.schedules import Schedule


@dataclass(frozen=True)
class DDIM(Sampler):
    """Song et al. 2021 (arXiv 2010.02502, eq. 12 and 16), steps evenly spaced in t."""

    steps: int = 10
    eta: float = 0.0

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps={self.steps} must be at least 1")
        require(0 <= self.eta <= 1, f"eta={self.eta} must lie in [0, 1]")

    @property
    def passes(self) -> int:
        return self.steps

    def sample(
        self, denoise: Denoise, noise: Noise, schedule: Schedule, t_high: float, t_low: float
    ) -> Tensor:
        first = noise()
        times = torch.linspace(t_high, t_low, self.steps + 1, dtype=torch.float64)
        log_snr = schedule.log_snr(times)
        # At t_high the noise is taken to hide the mask: x starts without signal, which is only
        # right while alpha there is small.
        _, sigma = alpha_sigma(log_snr[:1])
        x = as_images(sigma).to(first.device) * first
        x0 = x
        for i in range(self.steps):
            here = log_snr[i].expand(len(x)).to(x.device)
            x0 = denoise(x, times[i].expand(len(x)).to(x.device))
            if i + 1 < self.steps:
                there = log_snr[i + 1].expand(len(x)).to(x.device)
                x = self._step(x, x0, here, there, noise)
        return x0

    def _step(self, x: Tensor, x0: Tensor, here: Tensor, there: Tensor, noise: Noise) -> Tensor:
        """From λ to a larger λ: eq. 12, with the σ_t of eq. 16 written as ``fresh``."""
        alpha_here, sigma_here = map(as_images, alpha_sigma(here))
        alpha, sigma = map(as_images, alpha_sigma(there))
        step = (1 - (alpha_here / alpha) ** 2).clamp(min=0).sqrt()
        fresh = self.eta * sigma / sigma_here * step
        along = (sigma**2 - fresh**2).clamp(min=0).sqrt()
        x = alpha * x0 + along * to_eps(x0, x, here)
        return x + fresh * noise() if self.eta > 0 else x

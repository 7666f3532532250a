"""DDIM: deterministic (η = 0) to ancestral (η = 1) sampling with any number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.diffusion import alpha_sigma
from trainables.part import require
from trainables.samplers import Noise, Sampler, Visit, scale_like


@dataclass(frozen=True)
class DDIM(Sampler):
    """Song et al. 2021 (arXiv 2010.02502, eq. 12 and 16)."""

    eta: float = 0.0
    """The share of DDPM's noise that is added: 0 is deterministic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.eta <= 1, f"eta={self.eta} must lie in [0, 1]")

    def advance(
        self, x: Tensor, here: Visit, before: Visit | None, there: Tensor, noise: Noise
    ) -> Tensor:
        """Apply eq. 12; the σ_t of eq. 16 is ``fresh`` times σ there. Coefficients are float64."""
        image = scale_like(x)
        (alpha_here, sigma_here), (alpha, sigma) = alpha_sigma(here.log_snr), alpha_sigma(there)
        fresh = self.eta * (-torch.expm1(here.log_snr - there)).sqrt()
        along = (1 - fresh**2).sqrt()
        x0 = here.estimate.x0
        eps = (x - image(alpha_here) * x0) / image(sigma_here)
        x = image(alpha) * x0 + image(sigma * along) * eps
        return x + image(sigma * fresh) * noise() if self.eta > 0 else x

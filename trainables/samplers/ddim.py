"""DDIM: from deterministic (η = 0) to ancestral (η = 1) sampling, over any number of steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.diffusion import alpha_sigma, as_images, to_eps
from trainables.part import require
from trainables.samplers import Noise, Sampler, Visit


@dataclass(frozen=True)
class DDIM(Sampler):
    """Song et al. 2021 (arXiv 2010.02502, eq. 12 and 16)."""

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.eta <= 1, f"eta={self.eta} must lie in [0, 1]")

    def advance(
        self, x: Tensor, here: Visit, before: Visit | None, there: Tensor, noise: Noise
    ) -> Tensor:
        """Eq. 12, with the σ_t of eq. 16 written as ``fresh``."""
        alpha_here, sigma_here = (as_images(v).to(x.device) for v in alpha_sigma(here.log_snr))
        alpha, sigma = (as_images(v).to(x.device) for v in alpha_sigma(there))
        step = (1 - (alpha_here / alpha) ** 2).clamp(min=0).sqrt()
        fresh = self.eta * sigma / sigma_here * step
        along = (sigma**2 - fresh**2).clamp(min=0).sqrt()
        x0 = here.estimate.x0
        x = alpha * x0 + along * to_eps(x0, x, here.log_snr.to(x.device))
        return x + fresh * noise() if self.eta > 0 else x

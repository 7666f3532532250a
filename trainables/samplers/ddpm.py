"""DDPM: ancestral sampling, with fresh noise at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables.diffusion import alpha_sigma
from trainables.samplers import Noise, Sampler, Visit, scale_like


@dataclass(frozen=True)
class DDPM(Sampler):
    """Ho et al. 2020 (arXiv 2006.11239, eq. 6 and 7), from any λ to any larger one.

    With c = 1 − SNR_here/SNR_there, the forward step back to here has the variance c·σ_here²
    (Kingma et al. 2021, arXiv 2107.00630, appendix A) and the posterior given x0 has c·σ_there².
    ``variance`` selects one of them, or the interpolation by a learned-range head on a logarithmic
    scale (Nichol & Dhariwal 2021, arXiv 2102.09672, section 3.1).
    """

    variance: Literal["posterior", "forward", "learned"] = "posterior"
    """The variance of a step: of the posterior, of the forward process, or learned."""

    def advance(
        self, x: Tensor, here: Visit, before: Visit | None, there: Tensor, noise: Noise
    ) -> Tensor:
        """Draw from N(α_there·((1 − c)·x/α_here + c·x0), variance)."""
        image = scale_like(x)
        (alpha_here, sigma_here), (alpha, sigma) = alpha_sigma(here.log_snr), alpha_sigma(there)
        change = -torch.expm1(here.log_snr - there)
        kept = (1 - change) * alpha / alpha_here
        mean = image(kept) * x + image(change * alpha) * here.estimate.x0
        spread = image(change.sqrt() * (sigma_here if self.variance == "forward" else sigma))
        if self.variance == "learned":
            if here.estimate.range is None:
                raise ValueError("variance='learned' needs a model that estimates the range")
            spread = spread * image(sigma_here / sigma) ** here.estimate.range
        return mean + spread * noise()

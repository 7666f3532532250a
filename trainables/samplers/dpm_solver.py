"""DPM-Solver++(2M): deterministic sampling of second order, with one network pass per step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.diffusion import alpha_sigma
from trainables.samplers import Noise, Sampler, Visit, scale_like


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """Lu et al. 2022 (arXiv 2211.01095, algorithm 2), predicting x0.

    The first step is of first order, because no visit precedes it. So is the last step, as the
    paper advises for few steps: returning the last x0 equals a first-order step to σ = 0.
    """

    def advance(
        self, x: Tensor, here: Visit, before: Visit | None, there: Tensor, noise: Noise
    ) -> Tensor:
        """Extrapolate the last two x0 over half the step; the paper's λ is half the log-SNR."""
        image = scale_like(x)
        (_, sigma_here), (alpha, sigma) = alpha_sigma(here.log_snr), alpha_sigma(there)
        step = (there - here.log_snr) / 2
        x0 = here.estimate.x0
        if before is not None:
            step_before = (here.log_snr - before.log_snr) / 2
            x0 = x0 + image(step / step_before / 2) * (x0 - before.estimate.x0)
        return image(sigma / sigma_here) * x - image(alpha * torch.expm1(-step)) * x0

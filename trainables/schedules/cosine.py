"""Cosine: α is a cosine of t, with a shift in log-SNR (improved DDPM, simple diffusion)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Cosine(Schedule):
    """λ(t) = −2 log tan(a + t·(b−a)) + shift (Hoogeboom et al. 2023, arXiv 2301.11093, section 3).

    α = cos(πt/2) (Nichol & Dhariwal 2021) is infinite in λ at both ends, so a and b truncate
    it where the unshifted λ is ±``span``. A negative shift means more noise at every t.
    """

    shift: float = 0.0
    """Added to λ; negative values add noise."""
    span: float = 10.0
    """λ runs from span to −span before the shift."""

    def __post_init__(self) -> None:
        require(0 < self.span <= 60, f"span={self.span} must lie in (0, 60]")

    def log_snr(self, t: Tensor) -> Tensor:
        first = math.atan(math.exp(-self.span / 2))
        last = math.atan(math.exp(self.span / 2))
        return -2 * torch.log(torch.tan(first + t * (last - first))) + self.shift

"""Sigmoid: full weight on ε where noise dominates, none where the mask is nearly clean."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.diffusion import Target
from trainables.part import require
from trainables.weights import Weight, restated


@dataclass(frozen=True)
class SigmoidWeight(Weight):
    """sigmoid(bias − λ) on ε; a larger bias reaches cleaner steps.

    Kingma & Gao 2023 (arXiv 2303.00848); Hoogeboom et al. 2024 (arXiv 2410.19324). It multiplies
    the error at the times of the schedule, so the schedule's density of λ contributes too.
    """

    bias: float = 0.0
    """The weight is sigmoid(bias − λ)."""

    def __post_init__(self) -> None:
        require(-100 <= self.bias <= 100, f"bias={self.bias} must lie in [-100, 100]")

    def on(self, log_snr: Tensor, target: Target) -> Tensor:
        return restated(torch.sigmoid(self.bias - log_snr), log_snr, "eps", target)

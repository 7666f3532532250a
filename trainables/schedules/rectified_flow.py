"""Rectified flow: the noise levels of the linear path from the mask to noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """λ(t) = 2·log((1 − s)/s) with s = margin + (1 − 2·margin)·t: (1 − s)·x0 + s·ε has this SNR.

    Liu et al. 2023 (arXiv 2209.03003) and Lipman et al. 2023 (arXiv 2210.02747). DDIM on this
    schedule is the Euler method on the linear path; ``target: flow`` predicts its velocity.
    """

    margin: float = 0.005
    """The s at t = 0, and 1 − s at t = 1, where λ would be infinite without it."""

    def __post_init__(self) -> None:
        require(1e-6 <= self.margin < 0.5, f"margin={self.margin} must lie in [1e-6, 0.5)")

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * torch.logit(self.margin + (1 - 2 * self.margin) * t)

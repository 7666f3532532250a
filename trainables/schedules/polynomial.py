"""Polynomial: the signal power is 1 − t^power (power ½: Diffusion-LM)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Polynomial(Schedule):
    """α² = 1 − t^power; power ½ is the sqrt schedule of Li et al. 2022 (arXiv 2205.14217, app. A).

    α² reaches 1 and 0 at the ends, where λ is infinite; it is mapped affinely into the interval
    whose ends are λ = ±``span``, which takes the place of the paper's small offset of t.
    """

    power: float = 0.5
    """The exponent."""
    span: float = 10.0
    """λ runs from span to −span."""

    def __post_init__(self) -> None:
        require(
            0.01 <= self.power <= 4,
            f"power={self.power} must lie in [0.01, 4]: beyond, double precision flattens an end",
        )
        require(1 <= self.span <= 100, f"span={self.span} must lie in [1, 100]")

    def log_snr(self, t: Tensor) -> Tensor:
        noisiest = 1 / (1 + math.exp(self.span))  # α² at λ = −span, and σ² at λ = span
        noise = t**self.power
        signal = -torch.expm1(self.power * torch.log(t))  # 1 − noise, exact where it is small
        alpha2, sigma2 = (noisiest + (1 - 2 * noisiest) * share for share in (signal, noise))
        return torch.log(alpha2) - torch.log(sigma2)

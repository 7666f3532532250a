"""P2: less weight on nearly clean steps (perception-prioritised training)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.diffusion import Target
from trainables.part import require
from trainables.weights import Weight, restated


@dataclass(frozen=True)
class P2(Weight):
    """1/(k + SNR)^γ on ε (Choi et al. 2022, arXiv 2204.00227); γ = 0 is the simple loss on ε."""

    k: float = 1.0
    """Added to the SNR."""
    gamma: float = 1.0
    """The exponent."""

    def __post_init__(self) -> None:
        require(0 < self.k <= 1000, f"k={self.k} must lie in (0, 1000]")
        require(0 <= self.gamma <= 10, f"gamma={self.gamma} must lie in [0, 10]")

    def on(self, log_snr: Tensor, target: Target) -> Tensor:
        return restated((self.k + log_snr.exp()) ** -self.gamma, log_snr, "eps", target)

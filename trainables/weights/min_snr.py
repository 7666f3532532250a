"""Min-SNR: the signal-to-noise ratio up to a bound, to limit the weight of nearly clean steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.diffusion import Target
from trainables.part import require
from trainables.weights import Weight, restated


@dataclass(frozen=True)
class MinSNR(Weight):
    """min(SNR, γ) on x0, hence min(SNR, γ)/SNR on ε and min(SNR, γ)/(SNR + 1) on v.

    Hang et al. 2023 (arXiv 2303.09556), whose γ is 5.
    """

    gamma: float = 5.0
    """The SNR above which the weight is capped."""

    def __post_init__(self) -> None:
        require(self.gamma > 0, f"gamma={self.gamma} must be positive")

    def on(self, log_snr: Tensor, target: Target) -> Tensor:
        return restated(log_snr.exp().clamp(max=self.gamma), log_snr, "x0", target)

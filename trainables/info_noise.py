"""InfoNoise: a density over noise levels of training that follows the information of the mask."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.part import require

EXPONENT = 3
"""The exponent of the gate."""


@dataclass(frozen=True)
class InfoNoise:
    """Train most where the noisy mask gains information fastest (Raya et al. 2026, arXiv
    2602.18647).

    The entropy of x0 given x0 + σε rises with σ by mmse(σ)/σ³. Over λ = −2·log σ that density is
    SNR·mmse/2, half the squared error of ε (:mod:`trainables.evaluation.probe`). It is estimated
    from the errors of the training batches, in ``bins`` strata of equal width in λ, as a running
    mean that is smoothed over λ. Within a stratum times stay even in t. Cases trained without
    their image count as well; those trained as the feed-forward twin do not.

    Only the density changes. The loss is not divided by it, so the expected loss weights the
    levels as the density does. A configured weight of the loss stays, and the density is divided
    by it (by the weight on the squared error of x0), so that density × weight follows the rate of
    entropy, as in the paper. Sampling, validation and the probe do not use the density.

    In the paper the running mean is kept in 64 strata and the first steps are even; it gives no
    length for them, nor a ``floor``. Those defaults are choices of this program.
    """

    warmup: float = 0.2
    """Share of the steps that are trained on times even in t before the density adapts. The running
    mean decays to 1/e in as many steps."""
    floor: float = 0.1
    """Share of the density that stays even in t, so that every noise level is trained."""
    gate: float = 0.2
    """σ/α at which the rate is halved: it is multiplied by σ³/(σ³ + gate³), because the error at
    little noise is that of the network rather than of the mask; 0: nowhere."""
    bins: int = 64
    """Strata of equal width in log-SNR."""

    def __post_init__(self) -> None:
        require(0 < self.warmup < 1, f"warmup={self.warmup} must lie in (0, 1)")
        require(0 < self.floor <= 1, f"floor={self.floor} must lie in (0, 1]")
        require(self.gate >= 0, f"gate={self.gate} must not be negative")
        require(self.bins >= 2, f"bins={self.bins} must be at least 2")

    def gated(self, rate: Tensor, log_snr: Tensor) -> Tensor:
        """Return a rate that is suppressed where there is little noise."""
        cubed = (-log_snr / 2).exp() ** EXPONENT
        return rate * cubed / (cubed + self.gate**EXPONENT)

"""The statements that the source study's claims consist of (Öttl et al., arXiv 2403.14440)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.claims.roles import Role
from orchestrator.statistics.verdicts import Sign


@dataclass(frozen=True)
class Claim:
    """A statement about diffusion models that is tested by the sign of a difference."""

    number: int
    """The claim of the source study, 1 to 4."""
    statement: str
    metric: str
    sign: Sign
    """The sign of the difference if the statement is true."""
    against: Role | None = None
    """The role of the arm that diffusion is compared with."""


LOWER: tuple[tuple[str, Sign], ...] = (("dice", -1), ("iou", -1))
PAIRED = (
    Claim(1, "better calibrated than its feed-forward twin", "ece", -1, "twin"),
    Claim(1, "better calibrated than an ensemble of its twin", "ece", -1, "ensemble"),
    *(Claim(1, "less accurate than nnU-Net", *lower, "nnunet") for lower in LOWER),
    *(Claim(1, "less accurate than SegFormer", *lower, "segformer") for lower in LOWER),
)
LITTLE = Claim(
    2, "at some timesteps the noisy mask suffices and the image hardly helps", "share", -1
)
NOT_MONOTONE = Claim(3, "its loss over timesteps is not monotone", "loss", 1)
DISTINCT = Claim(4, "each task has a timestep fingerprint of its own", "wasserstein", 1)
CLAIMS = (*PAIRED, LITTLE, NOT_MONOTONE, DISTINCT)

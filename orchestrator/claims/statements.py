"""The statements that the source study's claims are made of (Öttl et al., arXiv 2403.14440)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.claims.roles import Role


@dataclass(frozen=True)
class Claim:
    """A statement about diffusion models, and the sign of a difference where it is true."""

    number: int
    statement: str
    metric: str
    sign: int
    against: Role | None = None


WORSE = (("dice", -1), ("iou", -1))
PAIRED = (
    Claim(1, "better calibrated than its feed-forward twin", "ece", -1, "twin"),
    Claim(1, "better calibrated than an ensemble of its twin", "ece", -1, "ensemble"),
    *(Claim(1, "less accurate than nnU-Net", *worse, "nnunet") for worse in WORSE),
    *(Claim(1, "less accurate than SegFormer", *worse, "segformer") for worse in WORSE),
)
LITTLE = Claim(2, "at some timesteps the noisy mask tells and the image hardly helps", "share", -1)
BUMPY = Claim(3, "its loss over timesteps is not monotone", "loss", 1)
OWN = Claim(4, "each task has a timestep fingerprint of its own", "wasserstein", 1)
CLAIMS = (*PAIRED, LITTLE, BUMPY, OWN)

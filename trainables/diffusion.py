"""The forward process and its conversions, all in log-SNR λ, variance preserving."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Target = Literal["x0", "eps", "v"]


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """α and σ with α² = sigmoid(λ), σ² = sigmoid(−λ) (Kingma et al. 2021, section 3)."""
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def as_images(per_case_B: Tensor) -> Tensor:
    """Shape [B] to [B, 1, 1, 1] in float32, to multiply images."""
    return per_case_B.float()[:, None, None, None]


def add_noise(x0_BCHW: Tensor, log_snr_B: Tensor, eps_BCHW: Tensor) -> Tensor:
    """x_λ = α·x0 + σ·ε (Ho et al. 2020, eq. 4)."""
    alpha, sigma = alpha_sigma(log_snr_B)
    return as_images(alpha) * x0_BCHW + as_images(sigma) * eps_BCHW


def to_x0(output: Tensor, x_BCHW: Tensor, log_snr_B: Tensor, target: Target) -> Tensor:
    """The x0 that a network output means.

    ε: x0 = (x − σε)/α (Ho et al. 2020, eq. 15). v = αε − σx0, so x0 = αx − σv (Salimans & Ho
    2022, arXiv 2202.00512, appendix D).
    """
    if target == "x0":
        return output
    alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
    if target == "eps":
        return (x_BCHW - sigma * output) / alpha
    return alpha * x_BCHW - sigma * output


def target_of(x0: Tensor, eps: Tensor, log_snr_B: Tensor, target: Target) -> Tensor:
    """What the network must output for this x0 and ε; the inverse of :func:`to_x0`."""
    if target == "x0":
        return x0
    if target == "eps":
        return eps
    alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
    return alpha * eps - sigma * x0


def to_eps(x0: Tensor, x_BCHW: Tensor, log_snr_B: Tensor) -> Tensor:
    """The ε that an x0 means: ε = (x − αx0)/σ."""
    alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
    return (x_BCHW - alpha * x0) / sigma

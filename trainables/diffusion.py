"""The variance-preserving forward process and its conversions, in terms of log-SNR λ."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainables.torch_calls import normal_cdf

Target = Literal["x0", "eps", "v", "flow"]


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Return α and σ: α² = sigmoid(λ), σ² = sigmoid(−λ) (Kingma et al. 2021, section 3)."""
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def as_images(per_case_B: Tensor) -> Tensor:
    """Reshape [B] to [B, 1, 1, 1] in float32, to multiply images."""
    return per_case_B.float()[:, None, None, None]


def add_noise(x0_BCHW: Tensor, log_snr_B: Tensor, eps_BCHW: Tensor) -> Tensor:
    """Return x_λ = α·x0 + σ·ε (Ho et al. 2020, eq. 4)."""
    alpha, sigma = alpha_sigma(log_snr_B)
    return as_images(alpha) * x0_BCHW + as_images(sigma) * eps_BCHW


def flow_time(log_snr: Tensor) -> Tensor:
    """Return the s at which the linear path (1 − s)·x0 + s·ε has this λ = 2·log((1 − s)/s).

    Lipman et al. 2023 (arXiv 2210.02747), with the ends named as in diffusion: noise at s = 1.
    """
    return torch.sigmoid(-log_snr / 2)


def to_x0(output: Tensor, x_BCHW: Tensor, log_snr_B: Tensor, target: Target) -> Tensor:
    """Convert the output of a network to x0.

    For ε, x0 = (x − σε)/α (Ho et al. 2020, eq. 15). For v = αε − σx0, x0 = αx − σv (Salimans & Ho
    2022, arXiv 2202.00512, appendix D). For the velocity of flow matching, u = ε − x0 at the s of
    :func:`flow_time`, x0 = x·√((1 − s)² + s²) − s·u: the root scales x to the linear path.
    """
    if target == "x0":
        return output
    if target == "flow":
        s = flow_time(log_snr_B)
        norm = as_images(torch.hypot(1 - s, s))
        return norm * x_BCHW - as_images(s) * output
    alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
    if target == "eps":
        return (x_BCHW - sigma * output) / alpha
    return alpha * x_BCHW - sigma * output


def target_of(x0: Tensor, eps: Tensor, log_snr_B: Tensor, target: Target) -> Tensor:
    """Return the target of the network for this x0 and ε; the inverse of :func:`to_x0`."""
    if target == "x0":
        return x0
    if target == "eps":
        return eps
    if target == "flow":
        return eps - x0
    alpha, sigma = map(as_images, alpha_sigma(log_snr_B))
    return alpha * eps - sigma * x0


def error_ratio(log_snr: Tensor, target: Target) -> Tensor:
    """Return the ratio of a target's squared error to that of x0.

    It is SNR for ε, 1 + SNR for v (Salimans & Ho 2022, arXiv 2202.00512, section 4, variance
    preserving), and 1/s² for the velocity of flow matching.
    """
    if target == "x0":
        return torch.ones_like(log_snr)
    if target == "flow":
        return flow_time(log_snr) ** -2
    return log_snr.exp() + (target == "v")


def step_divergence(error_BMHW: Tensor, here_B: Tensor, there_B: Tensor, spread: Tensor) -> Tensor:
    """Return the KL divergence of a learned-range step from the true posterior, nats per element.

    The true posterior is N(mean of x0, c·σ_there²), the learned one N(mean of its x0 estimate,
    c·σ_there²·ρ), with c = 1 − SNR_here/SNR_there, ρ = (σ_here²/σ_there²)^spread (Nichol & Dhariwal
    2021, arXiv 2102.09672, eq. 15) and ``error`` = estimate − x0.
    """
    change = as_images(-torch.expm1(here_B - there_B))
    log_ratio = spread * as_images(functional.logsigmoid(-here_B) - functional.logsigmoid(-there_B))
    distance = as_images(there_B.exp()) * change * error_BMHW.square()
    return (log_ratio + (1 + distance) * torch.exp(-log_ratio) - 1) / 2


def bin_cost(
    x0: Tensor, mean: Tensor, log_variance: Tensor, half_width: float, ends: float
) -> Tensor:
    """Return −log of the probability of x0's bin under N(mean, variance), nats per element.

    Bins are 2·``half_width`` wide; the outermost, around values at ±``ends``, are open (Ho et al.
    2020, eq. 13).
    """
    scale = torch.exp(-log_variance / 2)
    above = torch.where(x0 >= ends - half_width, torch.inf, (x0 - mean + half_width) * scale)
    below = torch.where(x0 <= half_width - ends, -torch.inf, (x0 - mean - half_width) * scale)
    mass = normal_cdf(above) - normal_cdf(below)
    return -mass.clamp(min=1e-12).log()

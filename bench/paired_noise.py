"""Estimates of information with noise shared by both denoisers, against separate noise.

The denoisers are exact: pixels are independent with prevalence 0.3, and the image is the label,
flipped with probability 0.1. The passes needed for a given standard error are proportional to the
variance, so a ratio of variances is a ratio of passes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PREVALENCE, FLIP = 0.3, 0.1
CASES, PIXELS, LEVELS = 400, 256, 16


def main() -> None:
    """Print the variance over cases of three estimators of I(mask; image), and the ratios."""
    draws = torch.Generator().manual_seed(0)
    label = torch.rand(CASES, 1, PIXELS, generator=draws) < PREVALENCE
    flipped = label ^ (torch.rand(CASES, 1, PIXELS, generator=draws) < FLIP)
    prior = math.log(PREVALENCE / (1 - PREVALENCE))
    odds = math.log((1 - FLIP) / FLIP) * (2 * flipped.double() - 1)
    inside = torch.rand(CASES, LEVELS, 1, generator=draws, dtype=torch.float64)
    log_snr = -12 + 24 * (torch.arange(LEVELS)[None, :, None] + inside) / LEVELS
    x0 = 2 * label.double() - 1

    def noisy() -> Tensor:
        eps = torch.randn(CASES, LEVELS, PIXELS, generator=draws, dtype=torch.float64)
        return log_snr.sigmoid().sqrt() * x0 + (-log_snr).sigmoid().sqrt() * eps

    def estimate(x: Tensor, log_odds: Tensor | float) -> Tensor:
        pull = 2 * log_snr.sigmoid().sqrt() / (-log_snr).sigmoid() * x
        return torch.tanh((pull + log_odds) / 2)

    def area(density: Tensor) -> Tensor:
        return (density * log_snr.exp()).mean(2).sum(1) * 24 / LEVELS / 2

    x, own = noisy(), noisy()
    with_image, without = estimate(x, prior + odds), estimate(x, prior)
    error = (with_image - x0).square()
    estimators = {
        "separate draws": area((estimate(own, prior) - x0).square() - error),
        "shared draws": area((without - x0).square() - error),
        "orthogonal, shared draws": area((with_image - without).square()),
    }
    naive = estimators["separate draws"].var()
    for name, values in estimators.items():
        ratio = float(naive / values.var())
        print(f"paired_noise: {name}: mean {values.mean():.4f} nats, {ratio:.1f}x fewer passes")

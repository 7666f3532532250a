"""What every sampler owes: with the exact denoiser, samples of the distribution behind it."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from trainables.diffusion import alpha_sigma
from trainables.part import names, parse_part
from trainables.samplers import Sampler
from trainables.schedules.cosine import Cosine

ALL = names("samplers")
PREVALENCE = torch.tensor([0.05, 0.3, 0.5, 0.9])
SCHEDULE = Cosine()


def denoise(x: Tensor, t_B: Tensor) -> Tensor:
    """E[x0 | x] of independent ±1 pixels of known prevalence."""
    alpha, sigma = alpha_sigma(SCHEDULE.log_snr(t_B.double()))
    pull = (alpha / sigma.square())[:, None, None, None] * x
    return torch.tanh(pull + torch.logit(PREVALENCE)[None, :, None, None] / 2).float()


@pytest.mark.parametrize("settings", [{}, {"eta": 1.0}])
@pytest.mark.parametrize("name", ALL)
def test_recovers_independent_pixels_from_the_exact_denoiser(
    name: str, settings: dict[str, float]
) -> None:
    sampler = cast("Sampler", parse_part("samplers", {name: {"steps": 100, **settings}}))
    draws = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(4000, 4, 1, 1, generator=draws)

    x0 = sampler.sample(denoise, noise, SCHEDULE, 1.0, 0.0)
    assert (x0.abs() > 0.95).double().mean() > 0.99  # two modes and nothing between
    share = (x0 > 0).double().mean((0, 2, 3))
    # Four standard errors of 4,000 draws, and the bias of 100 steps.
    torch.testing.assert_close(share, PREVALENCE.double(), atol=0.035, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_counts_its_passes(name: str) -> None:
    sampler = cast("Sampler", parse_part("samplers", {name: {"steps": 7}}))
    calls: list[Tensor] = []

    def counting(x: Tensor, t_B: Tensor) -> Tensor:
        calls.append(t_B)
        return denoise(x, t_B)

    sampler.sample(counting, lambda: torch.randn(2, 4, 1, 1), SCHEDULE, 0.9, 0.1)
    assert len(calls) == sampler.passes
    assert all(0.1 <= float(t.min()) <= float(t.max()) <= 0.9 for t in calls)

"""The forward process, its conversions, and the variational bound of a learned variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Normal, kl_divergence

from trainables.diffusion import (
    Target,
    add_noise,
    alpha_sigma,
    bin_cost,
    step_divergence,
    target_of,
    to_x0,
)

TARGETS: list[Target] = ["x0", "eps", "v", "flow"]


@given(log_snr=st.floats(-9, 9), seed=st.integers(0, 50))
@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_means_is_the_x0_it_was_made_of(
    target: Target, log_snr: float, seed: int
) -> None:
    draws = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 3, 1, 4, 4, generator=draws).double()
    level = torch.full((3,), log_snr).double()
    x = add_noise(x0, level, eps)
    found = to_x0(target_of(x0, eps, level, target), x, level, target)
    # α rounds to single precision, and ε's x0 divides by it.
    near = 1e-6 * max(1.0, math.exp(-log_snr / 2))
    torch.testing.assert_close(found, x0, rtol=0, atol=10 * near)


def test_the_forward_process_keeps_the_variance() -> None:
    level = torch.linspace(-12, 12, 100).double()
    alpha, sigma = alpha_sigma(level)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(100).double())
    torch.testing.assert_close((alpha / sigma).log() * 2, level)


@given(
    here=st.floats(-9, 7),
    rise=st.floats(0.05, 4),
    spread=st.floats(-0.5, 1.5),
    seed=st.integers(0, 50),
)
def test_a_steps_divergence_is_that_of_the_two_normals(
    here: float, rise: float, spread: float, seed: int
) -> None:
    """Against torch.distributions, with the posterior by Bayes' rule from the two levels."""
    draws = torch.Generator().manual_seed(seed)
    x0, guess, x = torch.randn(3, 1, 1, 2, 2, generator=draws).double()
    now, then = torch.tensor([here]).double(), torch.tensor([here + rise]).double()
    (alpha, sigma), (alpha_s, sigma_s) = alpha_sigma(now), alpha_sigma(then)
    kept = alpha / alpha_s
    fresh = sigma**2 - kept**2 * sigma_s**2  # variance of x_here given x_there
    precision = 1 / sigma_s**2 + kept**2 / fresh

    def mean(of: torch.Tensor) -> torch.Tensor:
        return (alpha_s * of / sigma_s**2 + kept * x / fresh) / precision

    variance = 1 / precision
    learned = torch.exp(spread * fresh.log() + (1 - spread) * variance.log())
    true = Normal(mean(x0), variance.sqrt().expand_as(x))
    model = Normal(mean(guess), learned.sqrt().expand_as(x))
    found = step_divergence(guess - x0, now, then, torch.full_like(x, spread))
    torch.testing.assert_close(found, kl_divergence(true, model), rtol=1e-4, atol=1e-5)


def test_a_bins_cost_is_the_normals_mass_in_it_and_the_outer_bins_are_open() -> None:
    x0 = torch.tensor([-1.0, 0.0, 1.0]).double()
    mean, log_variance = torch.tensor([-0.9, 0.05, 0.8]).double(), torch.tensor(-3.0).double()
    half = 1 / 255
    normal = stats.norm(mean.numpy(), math.exp(-1.5))
    upper = np.array([-1 + half, half, np.inf])
    lower = np.array([-np.inf, -half, 1 - half])
    expected = -np.log(normal.cdf(upper) - normal.cdf(lower))
    found = bin_cost(x0, mean, log_variance, half, 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)

"""What every schedule owes, and the closed forms of those that have one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from trainables.diffusion import add_noise, alpha_sigma
from trainables.parsing import parse_part
from trainables.part import names
from trainables.schedules import Schedule

ALL = names("schedules")
T = torch.linspace(0, 1, 1001, dtype=torch.float64)
STEPS = torch.arange(1000, dtype=torch.float64) / 999
"""The times of a process of a thousand steps."""


def made(spec: object) -> Schedule:
    return cast("Schedule", parse_part("schedules", spec))


def improved_ddpm(steps: int = 1000) -> np.ndarray:
    """λ of Nichol & Dhariwal 2021 (arXiv 2102.09672): cosine with offset 0.008, β at most 0.999."""
    alpha_bar = np.cos((np.linspace(0, 1, steps + 1) + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)
    discrete = np.cumprod(1 - beta)
    return np.log(discrete / (1 - discrete))


def table(log_snr: np.ndarray) -> Schedule:
    times = np.linspace(0, 1, len(log_snr))
    return made({"tabulated": {"times": times.tolist(), "log_snrs": log_snr.tolist()}})


@pytest.mark.parametrize("name", ALL)
def test_log_snr_is_finite_and_strictly_decreasing(name: str) -> None:
    log_snr = made(name).log_snr(T)
    assert log_snr.dtype == torch.float64
    assert log_snr.isfinite().all()
    assert (log_snr.diff() < 0).all()


@pytest.mark.parametrize("name", ALL)
def test_time_inverts_log_snr(name: str) -> None:
    schedule = made(name)
    torch.testing.assert_close(schedule.time(schedule.log_snr(T)), T, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_any_shape_goes_in_and_comes_out(name: str) -> None:
    t = torch.tensor([[0.0, 0.3], [0.5, 0.51], [0.9, 1.0]], dtype=torch.float64).T
    log_snr = made(name).log_snr(t)
    assert log_snr.shape == t.shape
    for place in np.ndindex(2, 3):
        torch.testing.assert_close(log_snr[place], made(name).log_snr(t[place]))


def test_linear_is_the_ddpm_process_at_its_thousand_steps() -> None:
    beta = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - beta)
    expected = np.log(alpha_bar / (1 - alpha_bar))
    np.testing.assert_allclose(made("linear").log_snr(STEPS), expected, atol=1e-9)
    assert expected[0] == pytest.approx(9.210, abs=5e-4)
    assert expected[-1] == pytest.approx(-10.118, abs=5e-4)


def test_what_epsilon_prediction_multiplies_its_error_by_at_the_noisy_end_of_linear() -> None:
    alpha, _ = alpha_sigma(made("linear").log_snr(torch.ones(1, dtype=torch.float64)))
    assert 1 / alpha.item() == pytest.approx(157.4, abs=0.05)


@pytest.mark.parametrize(
    ("curve", "scale", "below_5", "below_25"),
    [
        ("linear", 1.0, 17.3, 33.6),
        ("linear", 0.5, 8.9, 20.5),
        ("linear", 0.1, 1.5, 4.2),
        ("cosine", 1.0, 34.2, 61.9),
        ("cosine", 0.5, 18.1, 40.1),
        ("cosine", 0.1, 3.1, 8.6),
    ],
)
def test_share_of_timesteps_at_which_the_noisy_mask_gives_itself_away(
    curve: str, scale: float, below_5: float, below_25: float
) -> None:
    """A pixel ±b cut at the midpoint errs with probability Φ(−b·α/σ)."""
    schedule = made("linear") if curve == "linear" else table(improved_ddpm())
    scaled = made({"input_scaled": {"base": schedule, "scale": scale}})
    error = torch.special.ndtr(-(scaled.log_snr(STEPS) / 2).exp())
    assert 100 * (error < 0.05).double().mean().item() == pytest.approx(below_5, abs=0.001)
    assert 100 * (error < 0.25).double().mean().item() == pytest.approx(below_25, abs=0.001)


def test_cosine_is_the_cosine_between_its_cut_ends() -> None:
    schedule = made({"cosine": {"span": 30.0}})
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    alpha = torch.sigmoid(schedule.log_snr(t)).sqrt()
    torch.testing.assert_close(alpha, torch.cos(torch.pi * t / 2), atol=1e-6, rtol=0)


@given(shift=st.floats(-4, 4))
def test_cosine_shift_moves_every_log_snr_alike(shift: float) -> None:
    moved = made({"cosine": {"shift": shift}}).log_snr(T) - made("cosine").log_snr(T)
    torch.testing.assert_close(moved, torch.full_like(T, shift))


@given(temperature=st.floats(0.2, 3), end=st.floats(0.5, 5))
def test_sigmoid_stays_strictly_decreasing_and_reaches_its_ends(
    temperature: float, end: float
) -> None:
    log_snr = made({"sigmoid": {"temperature": temperature, "end": end}}).log_snr(T)
    assert (log_snr.diff() < 0).all()
    assert log_snr[0] == pytest.approx(10, abs=1e-6)
    assert log_snr[-1] == pytest.approx(-10, abs=1e-6)


@given(power=st.floats(0.01, 4), span=st.floats(1, 100))
def test_polynomial_falls_affinely_in_signal_power_to_its_ends(power: float, span: float) -> None:
    log_snr = made({"polynomial": {"power": power, "span": span}}).log_snr(T)
    assert (log_snr.diff() < 0).all()
    alpha2 = torch.sigmoid(log_snr)
    expected = alpha2[-1] + (alpha2[0] - alpha2[-1]) * (1 - T**power)
    torch.testing.assert_close(alpha2, expected, atol=1e-12, rtol=0)
    np.testing.assert_allclose(log_snr[[0, -1]], [span, -span], rtol=1e-12)


@pytest.mark.parametrize("name", ["laplace", "cauchy", "lognormal"])
@given(
    location=st.floats(-5, 5),
    scale=st.floats(0.3, 5),
    spread=st.floats(0.1, 1),
    span=st.floats(0.5, 20),
)
def test_a_quantile_schedule_is_the_quantile_of_its_density_between_the_cuts(
    name: str, location: float, scale: float, spread: float, span: float
) -> None:
    fields = {"location": location, "scale": scale, "span": span}
    density: Any
    if name == "lognormal":
        fields = {"mean": location, "std": scale, "sigma_data": spread, "span": span}
        median = -2 * (location + math.log(spread / 0.5))
        density = stats.norm(median, 2 * scale)
    else:
        median = location
        density = {"laplace": stats.laplace, "cauchy": stats.cauchy}[name](location, scale)
    log_snr = made({name: fields}).log_snr(T)
    mass_beyond = density.sf(median + span)
    t = T.numpy()
    clean = density.isf(mass_beyond + t * (1 - 2 * mass_beyond))
    noisy = density.ppf(mass_beyond + (1 - t) * (1 - 2 * mass_beyond))
    np.testing.assert_allclose(log_snr, np.where(t < 0.5, clean, noisy), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_snr[[0, -1]], [median + span, median - span], atol=1e-9)


@pytest.mark.parametrize("location", [-8.0, 0.0, 5.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("span", [0.01, 10.0, 500.0])
@pytest.mark.parametrize("name", ["laplace", "cauchy", "lognormal"])
def test_the_narrowest_and_widest_densities_are_still_strictly_decreasing(
    name: str, location: float, scale: float, span: float
) -> None:
    fields = {"location": location, "scale": scale, "span": span}
    if name == "lognormal":
        fields = {"mean": location, "std": max(scale, span / 70), "span": span}
    log_snr = made({name: fields}).log_snr(T)
    assert log_snr.isfinite().all()
    assert (log_snr.diff() < 0).all()
    assert log_snr[0] - log_snr[-1] == pytest.approx(2 * span, rel=1e-9)


@given(margin=st.floats(1e-5, 0.4))
def test_rectified_flow_has_the_ratio_of_the_linear_path(margin: float) -> None:
    s = margin + (1 - 2 * margin) * T
    signal_to_noise = ((1 - s) / s) ** 2
    log_snr = made({"rectified_flow": {"margin": margin}}).log_snr(T)
    torch.testing.assert_close(log_snr.exp(), signal_to_noise)


@given(prevalence=st.floats(0.01, 0.5))
def test_lognormal_keeps_the_noise_relative_to_the_spread_of_the_masks(prevalence: float) -> None:
    masks = np.array([1.0, -1.0])
    spread = math.sqrt(np.cov(masks, aweights=[prevalence, 1 - prevalence], ddof=0))
    fields = {"sigma_data": 2 * math.sqrt(prevalence * (1 - prevalence))}
    alpha, sigma = alpha_sigma(made({"lognormal": fields}).log_snr(torch.tensor(0.5).double()))
    assert (sigma / alpha / spread).item() == pytest.approx(math.exp(-1.2) / 0.5)


@given(scale=st.floats(0.05, 4), base=st.sampled_from(["cosine", "sigmoid", "laplace"]))
def test_input_scaled_is_the_scaled_mask_brought_back_to_unit_variance(
    scale: float, base: str
) -> None:
    alpha, sigma = alpha_sigma(made(base).log_snr(T))
    norm = torch.sqrt((scale * alpha) ** 2 + sigma**2)
    got = alpha_sigma(made({"input_scaled": {"base": base, "scale": scale}}).log_snr(T))
    torch.testing.assert_close(got, (scale * alpha / norm, sigma / norm))


@given(size=st.integers(16, 1024), reference=st.integers(16, 1024))
def test_resolution_shifted_has_the_base_ratio_after_averaging(size: int, reference: int) -> None:
    """Averaging n² pixels divides the variance of the noise by n² and leaves the signal."""
    shifted = made({"resolution_shifted": {"size": size, "reference": reference}}).log_snr(T)
    averaged = (shifted.exp() * (size / reference) ** 2).log()
    torch.testing.assert_close(averaged, made("cosine").log_snr(T))


@given(high=st.floats(0, 12), width=st.floats(0.1, 20))
def test_constant_window_visits_every_level_equally_often(high: float, width: float) -> None:
    log_snr = made({"constant_window": {"log_snr_high": high, "log_snr_low": high - width}})
    assert log_snr.log_snr(T)[0] == high
    np.testing.assert_allclose(log_snr.log_snr(T).diff(), -width / 1000, rtol=1e-9, atol=1e-14)


@given(
    inner=st.lists(st.floats(0.01, 0.99), max_size=6, unique=True),
    falls=st.lists(st.floats(0.01, 5), min_size=7, max_size=7),
)
def test_tabulated_is_linear_between_its_points(inner: list[float], falls: list[float]) -> None:
    times = [0.0, *sorted(inner), 1.0]
    log_snrs = [9.0, *(9 - np.cumsum(falls[: len(times) - 1]))]
    schedule = made({"tabulated": {"times": times, "log_snrs": [*map(float, log_snrs)]}})
    np.testing.assert_allclose(schedule.log_snr(T), np.interp(T, times, log_snrs), atol=1e-9)
    at_points = schedule.log_snr(torch.tensor(times, dtype=torch.float64)).tolist()
    assert at_points == pytest.approx(log_snrs, abs=1e-12)
    assert all(a > b for a, b in pairwise(at_points))


@pytest.mark.parametrize(
    ("name", "fields", "rule"),
    [
        ("polynomial", {"power": 0.0}, "power=0.0 must lie in"),
        ("polynomial", {"span": 0.0}, "span=0.0 must lie in"),
        ("laplace", {"scale": 0.0}, "scale=0.0 must lie in"),
        ("laplace", {"span": -1.0}, "span=-1.0 must be positive"),
        ("cauchy", {"scale": -1.0}, "scale=-1.0 must lie in"),
        ("cauchy", {"span": 0.0}, "span=0.0 must be positive"),
        ("lognormal", {"std": 0.1}, "std=0.1 must lie in .*span=10.0"),
        ("lognormal", {"sigma_data": 0.0}, "sigma_data=0.0 must be positive"),
        ("lognormal", {"span": 0.0}, "span=0.0 must be positive"),
        ("resolution_shifted", {"size": 0}, "size=0 must be at least 1"),
        ("resolution_shifted", {"reference": 0}, "reference=0 must be at least 1"),
        ("resolution_shifted", {"base": "cosin"}, "base.*did you mean 'cosine'"),
        ("rectified_flow", {"margin": 0.0}, r"margin=0.0 must lie in \[1e-6, 0.5\)"),
        ("input_scaled", {"scale": 0.0}, "scale=0.0 must be positive"),
        ("constant_window", {"log_snr_low": 5.0}, "log_snr_low=5.0 must be below"),
        ("tabulated", {"times": [0.0, 0.5, 1.0]}, "3 and log_snrs 2"),
        ("tabulated", {"times": [0.0], "log_snrs": [1.0]}, "at least 2"),
        ("tabulated", {"times": [0.1, 1.0]}, "must begin at 0"),
        ("tabulated", {"times": [0.0, 0.9]}, "end at 1"),
        ("tabulated", {"times": [0, 0, 1], "log_snrs": [3, 2, 1]}, "must rise strictly"),
        ("tabulated", {"log_snrs": [1.0, 1.0]}, "must fall strictly"),
    ],
)
def test_a_field_out_of_its_domain_is_refused_by_name(
    name: str, fields: dict[str, object], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        made({name: fields})


@pytest.mark.parametrize(
    ("beta_schedule", "schedule"),
    [("linear", made("linear")), ("squaredcos_cap_v2", table(improved_ddpm()))],
)
def test_noise_is_added_as_diffusers_does(beta_schedule: Any, schedule: Schedule) -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule=beta_schedule, beta_start=1e-4, beta_end=0.02)
    alpha_bar = torch.sigmoid(schedule.log_snr(STEPS))
    torch.testing.assert_close(alpha_bar, theirs.alphas_cumprod.double(), rtol=1e-5, atol=1e-5)
    steps = torch.tensor([0, 1, 250, 500, 998, 999])
    x0, eps = torch.randn(2, len(steps), 1, 4, 4, generator=torch.Generator().manual_seed(0))
    ours = add_noise(x0, schedule.log_snr(STEPS[steps]), eps)
    expected: Tensor = theirs.add_noise(x0, eps, cast("Any", steps))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)

"""What every schedule owes, and the closed forms of those that have one."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.part import names, parse_part
from trainables.schedules import Schedule

ALL = names("schedules")
T = torch.linspace(0, 1, 1001, dtype=torch.float64)


def made(spec: object) -> Schedule:
    return cast("Schedule", parse_part("schedules", spec))


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
    t = torch.rand(2, 3, dtype=torch.float64)
    torch.testing.assert_close(made(name).log_snr(t).flatten(), made(name).log_snr(t.flatten()))


def test_linear_is_the_ddpm_process_at_its_thousand_steps() -> None:
    beta = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - beta)
    expected = np.log(alpha_bar / (1 - alpha_bar))
    t = torch.arange(1000, dtype=torch.float64) / 999
    np.testing.assert_allclose(made("linear").log_snr(t), expected, atol=1e-9)
    assert expected[0] == pytest.approx(9.210, abs=5e-4)
    assert expected[-1] == pytest.approx(-10.118, abs=5e-4)


@pytest.mark.parametrize(
    ("scale", "below_5", "below_25"), [(1.0, 17.3, 33.6), (0.5, 8.9, 20.5), (0.1, 1.5, 4.2)]
)
def test_share_of_linear_timesteps_at_which_the_noisy_mask_gives_itself_away(
    scale: float, below_5: float, below_25: float
) -> None:
    """A pixel ±b cut at the midpoint errs with probability Φ(−b·α/σ)."""
    t = torch.arange(1000, dtype=torch.float64) / 999
    error = torch.special.ndtr(-scale * (made("linear").log_snr(t) / 2).exp())
    assert 100 * (error < 0.05).double().mean().item() == pytest.approx(below_5, abs=0.051)
    assert 100 * (error < 0.25).double().mean().item() == pytest.approx(below_25, abs=0.051)


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

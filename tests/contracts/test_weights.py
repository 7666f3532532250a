"""What every loss weight owes, and the closed forms of the published ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.diffusion import Target, add_noise, alpha_sigma, as_images, target_of, to_x0
from trainables.parsing import parse_part
from trainables.part import names
from trainables.weights import Weight

ALL = names("weights")
ONE_LOSS = [name for name in ALL if name != "none"]
"""``none`` is another loss for another target, by its definition."""
TARGETS: tuple[Target, ...] = ("x0", "eps", "v", "flow")
LOG_SNR = torch.linspace(-12, 12, 97, dtype=torch.float64)
EXTREMES: tuple[object, ...] = (
    {"min_snr": {"gamma": 1e-6}},
    {"min_snr": {"gamma": 1e6}},
    {"p2": {"k": 1000.0, "gamma": 10.0}},
    {"p2": {"k": 1e-6, "gamma": 10.0}},
    {"sigmoid": {"bias": -100.0}},
    {"sigmoid": {"bias": 100.0}},
)
Form = Callable[[Tensor], Tensor]


def made(spec: object) -> Weight:
    return cast("Weight", parse_part("weights", spec))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spec", [*ALL, *EXTREMES], ids=str)
def test_is_positive_and_finite_and_keeps_the_shape(spec: object, target: Target) -> None:
    weight = made(spec).on(LOG_SNR, target)
    assert weight.dtype == torch.float64
    assert weight.shape == LOG_SNR.shape
    assert weight.isfinite().all()
    assert (weight > 0).all()
    square = made(spec).on(LOG_SNR[:4].reshape(2, 2), target)
    torch.testing.assert_close(square.flatten(), weight[:4])


@pytest.mark.parametrize("name", ONE_LOSS)
@given(log_snr=st.floats(-8, 8), seed=st.integers(0, 99))
def test_the_weighted_loss_is_one_number_whichever_target(
    name: str, log_snr: float, seed: int
) -> None:
    """The same denoiser, read as a prediction of x0, of ε, of v and of a velocity."""
    draws = torch.Generator().manual_seed(seed)
    x0, eps, guess = torch.randn(3, 2, 1, 4, 4, generator=draws, dtype=torch.float64)
    level = torch.full((2,), log_snr, dtype=torch.float64)
    x = add_noise(x0, level, eps)
    alpha, sigma = map(as_images, alpha_sigma(level))
    losses: list[float] = []
    for target in TARGETS:
        meant = (x - alpha * guess) / sigma
        output = target_of(guess, meant, level, target)
        torch.testing.assert_close(to_x0(output, x, level, target), guess, rtol=1e-3, atol=1e-3)
        error = (output - target_of(x0, eps, level, target)).square()
        losses.append((as_images(made(name).on(level, target)) * error).mean().item())
    # The conversions round α and σ to single precision.
    assert losses == pytest.approx([losses[0]] * len(TARGETS), rel=1e-3)


def test_none_is_one_on_every_target() -> None:
    for target in TARGETS:
        assert (made("none").on(LOG_SNR, target) == 1).all()


@pytest.mark.parametrize(
    ("spec", "target", "form"),
    [
        ({"min_snr": {"gamma": 5.0}}, "x0", lambda snr: snr.clamp(max=5)),
        ({"min_snr": {"gamma": 5.0}}, "eps", lambda snr: (5 / snr).clamp(max=1)),
        ({"min_snr": {"gamma": 5.0}}, "v", lambda snr: snr.clamp(max=5) / (snr + 1)),
        ({"min_snr": {"gamma": 1.0}}, "x0", lambda snr: snr.clamp(max=1)),
        ({"p2": {}}, "eps", lambda snr: 1 / (1 + snr)),
        ({"p2": {}}, "x0", lambda snr: snr / (1 + snr)),
        ({"p2": {}}, "v", lambda snr: snr / (1 + snr) ** 2),
        ({"p2": {"k": 2.0, "gamma": 0.5}}, "eps", lambda snr: (2 + snr).rsqrt()),
        ({"p2": {"gamma": 0.0}}, "eps", torch.ones_like),
        ({"sigmoid": {}}, "eps", lambda snr: 1 / (1 + snr)),
        ({"sigmoid": {"bias": 2.0}}, "eps", lambda snr: 1 / (1 + snr * torch.e**-2)),
        ({"sigmoid": {"bias": 2.0}}, "x0", lambda snr: 1 / (1 / snr + torch.e**-2)),
    ],
)
def test_closed_forms(spec: object, target: Target, form: Form) -> None:
    torch.testing.assert_close(made(spec).on(LOG_SNR, target), form(LOG_SNR.exp()))


@pytest.mark.parametrize(
    ("name", "fields", "rule"),
    [
        ("min_snr", {"gamma": 0.0}, "gamma=0.0 must be positive"),
        ("p2", {"k": 0.0}, "k=0.0 must lie in"),
        ("p2", {"gamma": -1.0}, "gamma=-1.0 must lie in"),
        ("p2", {"gamma": 11.0}, "gamma=11.0 must lie in"),
        ("sigmoid", {"bias": -101.0}, "bias=-101.0 must lie in"),
    ],
)
def test_a_field_out_of_its_domain_is_refused_by_name(
    name: str, fields: dict[str, object], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        made({name: fields})

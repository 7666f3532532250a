"""What every sampler owes: with the exact denoiser, samples of the distribution behind it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from trainables.diffusion import Target, alpha_sigma, to_x0
from trainables.parsing import parse_part
from trainables.part import names
from trainables.samplers import Denoise, Estimate, Noise, Sampler, Visit
from trainables.schedules.cosine import Cosine
from trainables.schedules.linear import Linear
from trainables.schedules.rectified_flow import RectifiedFlow

Spec = dict[str, dict[str, object]]
ALL = names("samplers")
SPECS: list[Spec] = [
    *({name: {}} for name in ALL),
    {"ddim": {"eta": 1.0}},
    {"ddpm": {"variance": "forward"}},
    {"ddpm": {"variance": "learned"}},
]
PREVALENCE = torch.tensor([0.05, 0.3, 0.5, 0.9], dtype=torch.float64)
MEAN, SPREAD = 0.4, 0.6
"""Of a Gaussian prior, whose exact denoiser is linear."""
SCHEDULE = Cosine()
LEVEL, RISE = st.floats(-9, 8), st.floats(0.01, 8)


def made(spec: Spec, **fields: object) -> Sampler:
    ((name, given_fields),) = spec.items()
    return cast("Sampler", parse_part("samplers", {name: {**given_fields, **fields}}))


def normal(seed: int, *shape: int) -> Noise:
    draws = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=draws, dtype=torch.float64)


def pixels(x: Tensor, t_B: Tensor) -> Estimate:
    """E[x0 | x] of independent ±1 pixels of known prevalence."""
    alpha, sigma = (v[:, None, None, None] for v in alpha_sigma(SCHEDULE.log_snr(t_B)))
    x0 = torch.tanh(alpha / sigma**2 * x + torch.logit(PREVALENCE)[None, :, None, None] / 2)
    return Estimate(x0, torch.full_like(x0, 0.5))


def gaussian(x: Tensor, t_B: Tensor) -> Estimate:
    """E[x0 | x] of independent pixels from N(MEAN, SPREAD²)."""
    alpha, sigma = (v[:, None, None, None] for v in alpha_sigma(SCHEDULE.log_snr(t_B)))
    gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
    x0 = MEAN + gain * (x - alpha * MEAN)
    return Estimate(x0, torch.full_like(x0, 0.5))


def drawn(sampler: Sampler, denoise: Denoise, seed: int, *shape: int) -> Tensor:
    noise = normal(seed, *shape)
    return sampler.sample(denoise, noise(), noise, SCHEDULE, sampler.grid(SCHEDULE, 1.0, 0.0))


@pytest.mark.parametrize("spacing", ["t", "log_snr"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_recovers_independent_pixels_from_the_exact_denoiser(spec: Spec, spacing: str) -> None:
    x0 = drawn(made(spec, steps=100, spacing=spacing), pixels, 0, 8000, 4, 1, 1)
    assert (x0.abs() > 0.95).double().mean() > 0.99  # two modes and nothing between
    share = (x0 > 0).double().mean((0, 2, 3))
    four_errors = 4 * (PREVALENCE * (1 - PREVALENCE) / len(x0)).sqrt()
    assert ((share - PREVALENCE).abs() < four_errors + 0.005).all()  # the bias of 100 steps


@pytest.mark.parametrize("spacing", ["t", "log_snr"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_recovers_a_gaussian_from_the_exact_denoiser(spec: Spec, spacing: str) -> None:
    x0 = drawn(made(spec, steps=400, spacing=spacing), gaussian, 1, 10_000, 1, 1, 1)
    assert x0.mean().item() == pytest.approx(MEAN, abs=0.024)  # four standard errors
    assert x0.std().item() == pytest.approx(SPREAD, abs=0.017 + 0.01)  # and the bias of 400 steps


@pytest.mark.parametrize("spacing", ["t", "log_snr"])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("name", ALL)
def test_makes_one_pass_at_each_of_evenly_spaced_levels(
    name: str, steps: int, spacing: str
) -> None:
    visited: list[Tensor] = []

    def watched(x: Tensor, t_B: Tensor) -> Estimate:
        visited.append(t_B)
        return pixels(x, t_B)

    sampler, noise = made({name: {}}, steps=steps, spacing=spacing), normal(0, 2, 4, 1, 1)
    grid = sampler.grid(SCHEDULE, 0.9, 0.1)
    sampler.sample(watched, noise(), noise, SCHEDULE, grid)
    assert len(visited) == sampler.passes == steps
    times = torch.stack(visited)
    assert (times == grid[:, None]).all()
    assert ((times >= 0.1) & (times <= 0.9)).all()
    scale: Callable[[Tensor], Tensor] = SCHEDULE.log_snr if spacing == "log_snr" else lambda t: t
    first, last = scale(torch.tensor([0.9, 0.1], dtype=torch.float64)).tolist()
    expected = torch.tensor([first + (last - first) * i / steps for i in range(steps)]).double()
    torch.testing.assert_close(scale(grid), expected, atol=1e-6, rtol=0)


@given(
    shares=st.lists(st.floats(0.05, 5), min_size=1, max_size=16),
    lowest=st.floats(-15, 5),
    steps=st.integers(1, 12),
)
def test_steps_of_equal_information_follow_the_quantiles_of_a_fingerprint(
    shares: list[float], lowest: float, steps: int
) -> None:
    """The levels are quantiles of the density that is even between the given ones."""
    quantiles = np.cumsum([lowest, *shares])
    assume(quantiles[0] < 10 and quantiles[-1] > -10)  # the range of the schedule
    sampler = made({"ddim": {}}, steps=steps, spacing="information", quantiles=quantiles.tolist())
    levels = SCHEDULE.log_snr(sampler.grid(SCHEDULE, 1.0, 0.0)).numpy()
    first, last = SCHEDULE.log_snr(torch.tensor([1.0, 0.0]).double()).tolist()
    assert levels[0] == pytest.approx(first)
    share = stats.rv_histogram((np.ones(len(shares)), quantiles), density=False)
    begin, end = share.cdf([first, last])
    expected = share.ppf(begin + (end - begin) * np.arange(steps) / steps)
    np.testing.assert_allclose(levels[1:], expected[1:], atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"spacing": "information"}, "must be given with spacing='information'"),
        ({"quantiles": [-1.0, 1.0]}, "with no other spacing .it is 't'."),
        ({"spacing": "information", "quantiles": [1.0]}, "at least two λ that rise"),
        ({"spacing": "information", "quantiles": [1.0, 1.0]}, "at least two λ that rise"),
    ],
)
def test_quantiles_without_a_meaning_are_refused(fields: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        made({"ddim": {}}, **fields)


def test_quantiles_beyond_the_sampled_range_are_refused() -> None:
    sampler = {"ddim": {"spacing": "information", "quantiles": [20.0, 30.0]}}
    with pytest.raises(ValueError, match=r"from λ = 20 to 30 must overlap the sampled range"):
        parse_part("modes", {"diffusion": {"sampler": sampler}})


@pytest.mark.parametrize("steps", [1, 4, 25])
def test_ddim_on_rectified_flow_is_the_euler_method_on_the_linear_path(steps: int) -> None:
    """dx/ds = u = ε − x0 on (1 − s)·x0 + s·ε (Lipman et al. 2023), from s = 1 − margin down."""
    schedule = RectifiedFlow(margin=0.01)
    s = np.linspace(0.99, 0.01, steps + 1)[:-1]

    def estimate(x: Tensor, log_snr: float) -> Tensor:  # any function of both will do
        return torch.tanh(x * math.exp(log_snr / 4))

    x = normal(3, 2, 1, 4, 4)()
    path, x0 = x * math.hypot(1 - s[0], s[0]), x
    for i, here in enumerate(s):
        norm = math.hypot(1 - here, here)
        x0 = estimate(path / norm, 2 * math.log((1 - here) / here))
        velocity = (path - x0) / here
        torch.testing.assert_close(
            to_x0(velocity, path / norm, 2 * torch.logit(torch.tensor([1 - here] * 2)), "flow"), x0
        )
        if i + 1 < steps:
            path = path + (s[i + 1] - here) * velocity
    found = made({"ddim": {}}).sample(
        lambda x, t: Estimate(estimate(x, float(schedule.log_snr(t)[0]))),
        x,
        normal(0, 1),
        schedule,
        made({"ddim": {}}, steps=steps).grid(schedule, 1.0, 0.0),
    )
    torch.testing.assert_close(found, x0, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_one_step_is_the_estimate_itself(name: str) -> None:
    x, times = torch.ones(2, 4, 1, 1, dtype=torch.float64), torch.tensor([0.7]).double()
    got = made({name: {}}).sample(pixels, x, normal(0, 2, 4, 1, 1), SCHEDULE, times)
    torch.testing.assert_close(got, pixels(x, times).x0)


def step(
    spec: Spec, here: float, rise: float, x0: Callable[[Tensor], Tensor], variance: float = 0.0
) -> tuple[float, float, float]:
    """The offset, the factor of x and the factor of the noise in one step, which is affine."""
    x, noise = torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.float64)[..., None, None, None]
    now, then = torch.tensor([[here], [here + rise]], dtype=torch.float64)
    visit = Visit(now, Estimate(x0(x), torch.full_like(x, variance)))
    before = Visit(now - 1, Estimate(x0(x)))
    at_0, at_x, at_noise = made(spec).advance(x, visit, before, then, lambda: noise)
    return at_0.item(), (at_x - at_0).item(), (at_noise - at_0).item()


def squares(log_snr: float) -> tuple[float, float]:
    """α² and σ²."""
    return 1 / (1 + math.exp(-log_snr)), 1 / (1 + math.exp(log_snr))


@pytest.mark.parametrize(
    "spec", [*({name: {}} for name in ALL), {"ddim": {"eta": 0.4}}, {"ddim": {"eta": 1.0}}], ids=str
)
@given(here=LEVEL, rise=RISE, x0=st.floats(-1, 1))
def test_a_known_mask_keeps_its_forward_distribution_in_steps_of_any_length(
    spec: Spec, here: float, rise: float, x0: float
) -> None:
    offset, on_x, on_noise = step(spec, here, rise, lambda x: torch.full_like(x, x0))
    (alpha2_here, sigma2_here), (alpha2, sigma2) = squares(here), squares(here + rise)
    mean = offset + on_x * math.sqrt(alpha2_here) * x0
    assert mean == pytest.approx(math.sqrt(alpha2) * x0, abs=1e-6)
    assert on_x**2 * sigma2_here + on_noise**2 == pytest.approx(sigma2, rel=1e-5)


@given(here=LEVEL, rise=RISE, mean=st.floats(-1, 1), spread=st.floats(0.1, 1))
def test_the_best_learned_variance_keeps_gaussian_masks_in_steps_of_any_length(
    here: float, rise: float, mean: float, spread: float
) -> None:
    """The best variance adds that of x0 given x to the posterior's; it is forward at spread 1."""
    (alpha2_here, sigma2_here), (alpha2, sigma2) = squares(here), squares(here + rise)
    total_here, total = alpha2_here * spread**2 + sigma2_here, alpha2 * spread**2 + sigma2
    center, change = math.sqrt(alpha2_here) * mean, 1 - math.exp(-rise)
    gain = math.sqrt(alpha2_here) * spread**2 / total_here
    best = change * sigma2 + change**2 * alpha2 * spread**2 * sigma2_here / total_here
    place = math.log(best / (change * sigma2)) / math.log(sigma2_here / sigma2)
    learned: Spec = {"ddpm": {"variance": "learned"}}
    offset, on_x, on_noise = step(learned, here, rise, lambda x: mean + gain * (x - center), place)
    assert offset + on_x * center == pytest.approx(math.sqrt(alpha2) * mean, abs=1e-6)
    assert on_x**2 * total_here + on_noise**2 == pytest.approx(total, rel=1e-5)


@given(here=LEVEL, rise=RISE)
def test_a_learned_range_runs_from_the_posterior_to_the_forward_variance(
    here: float, rise: float
) -> None:
    def of(variance: str, place: float = 0.0) -> float:
        return step({"ddpm": {"variance": variance}}, here, rise, torch.zeros_like, place)[2]

    assert of("learned", 0.0) == pytest.approx(of("posterior"), rel=1e-5)
    assert of("learned", 1.0) == pytest.approx(of("forward"), rel=1e-5)
    assert of("learned", 0.5) ** 2 == pytest.approx(of("posterior") * of("forward"), rel=1e-5)


def test_a_learned_variance_needs_a_range() -> None:
    x, (now, then) = torch.zeros(1, 1, 2, 2), torch.tensor([[0.0], [1.0]]).double()
    with pytest.raises(ValueError, match="variance='learned' needs .* range"):
        made({"ddpm": {"variance": "learned"}}).advance(
            x, Visit(now, Estimate(x)), None, then, lambda: x
        )


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm_solver", 2)])
def test_order_of_convergence_to_the_probability_flow(name: str, order: int) -> None:
    """The flow of a Gaussian keeps each sample's distance from the mean in standard deviations."""
    alpha, sigma = alpha_sigma(SCHEDULE.log_snr(torch.tensor([0.9, 0.1], dtype=torch.float64)))
    spreads = (alpha**2 * SPREAD**2 + sigma**2).sqrt()
    start = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(9, 1, 1, 1)
    exact = alpha[1] * MEAN + spreads[1] / spreads[0] * (start - alpha[0] * MEAN)
    errors: list[float] = []
    for steps in (20, 40):
        seen: list[Tensor] = []

        def watched(x: Tensor, t_B: Tensor, seen: list[Tensor] = seen) -> Estimate:
            seen.append(x)
            return gaussian(x, t_B)

        times = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)
        made({name: {}}).sample(watched, start, normal(0, 9, 1, 1, 1), SCHEDULE, times)
        errors.append((seen[-1] - exact).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@given(here=LEVEL, rise=RISE, seed=st.integers(0, 99))
def test_ddim_with_full_noise_makes_the_step_of_ddpm(here: float, rise: float, seed: int) -> None:
    x0, eps, noise = normal(seed, 3, 2, 1, 4, 4)()
    now, then = torch.tensor([[here], [here + rise]], dtype=torch.float64)
    alpha, sigma = alpha_sigma(now)
    visit, specs = Visit(now, Estimate(x0)), (Spec(ddim={"eta": 1.0}), Spec(ddpm={}))
    ddim, ddpm = (
        made(spec).advance(alpha * x0 + sigma * eps, visit, None, then, lambda: noise)
        for spec in specs
    )
    torch.testing.assert_close(ddim, ddpm, rtol=0, atol=2e-6)


def test_ddim_with_full_noise_has_the_distribution_of_ddpm() -> None:
    def samples(spec: Spec, seed: int) -> Tensor:
        return drawn(made(spec, steps=4), gaussian, seed, 20_000, 1, 1, 1).flatten()

    ddim = samples({"ddim": {"eta": 1.0}}, 2)
    assert stats.ks_2samp(ddim, samples({"ddpm": {}}, 3)).pvalue > 0.01
    assert stats.ks_2samp(ddim, samples({"ddpm": {"variance": "forward"}}, 3)).pvalue < 1e-6


def theirs(spec: Spec, target: Target) -> Any:
    """The scheduler of diffusers that walks as the sampler does."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    variances: Any = {"forward": "fixed_large", "learned": "learned_range"}
    prediction: Any = {"x0": "sample", "eps": "epsilon", "v": "v_prediction"}[target]
    common: Any = {
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "prediction_type": prediction,
        "timestep_spacing": "trailing",
    }
    if "ddim" in spec:
        return DDIMScheduler(clip_sample=False, **common)
    if "ddpm" in spec:
        variance = variances.get(spec["ddpm"].get("variance"), "fixed_small")
        return DDPMScheduler(clip_sample=False, variance_type=variance, **common)
    return DPMSolverMultistepScheduler(solver_order=2, final_sigmas_type="zero", **common)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [2, 10, 25])
@pytest.mark.parametrize("target", ["x0", "eps", "v"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_visits_the_noisy_masks_that_diffusers_visits(
    spec: Spec, target: Target, steps: int
) -> None:
    def network(x: Tensor, timestep: int) -> Tensor:
        return torch.tanh(1.3 * x + math.sin(timestep))

    learned, scheduler = spec == {"ddpm": {"variance": "learned"}}, theirs(spec, target)
    scheduler.set_timesteps(steps)
    shape, draws, x = (3, 1, 8, 8), torch.Generator().manual_seed(1), normal(2, 3, 1, 8, 8)()
    expected = [x]
    extra: dict[str, Any] = {} if "dpm_solver" in spec else {"generator": draws}
    extra |= {"eta": spec["ddim"].get("eta", 0.0)} if "ddim" in spec else {}
    for timestep in scheduler.timesteps:
        output = network(expected[-1], int(timestep))
        output = torch.cat([output, torch.cos(output)], 1) if learned else output
        expected.append(scheduler.step(output, timestep, expected[-1], **extra).prev_sample)

    seen: list[Tensor] = []

    def denoise(x: Tensor, t_B: Tensor) -> Estimate:
        seen.append(x)
        output = network(x, round(999 * t_B[0].item()))
        x0 = to_x0(output, x, Linear().log_snr(t_B), target)
        return Estimate(x0, (torch.cos(output) + 1) / 2)

    draws.manual_seed(1)
    times = scheduler.timesteps.double() / 999
    noise: Noise = lambda: torch.randn(shape, generator=draws, dtype=torch.float64)  # noqa: E731
    last = made(spec).sample(denoise, x, noise, Linear(), times)
    if spec not in ({"ddpm": {"variance": "forward"}}, {"ddpm": {"variance": "learned"}}):
        seen.append(last)  # the other two add noise to it in diffusers
    for ours, other in zip(seen, expected, strict=False):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5 * other.abs().max().item())

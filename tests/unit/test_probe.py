"""The fingerprint's oracles: closed forms for independent pixels (I-MMSE)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.config import Config
from trainables.controls import Control
from trainables.data import Case, Prepared
from trainables.datasets.synthetic import Synthetic
from trainables.diffusion import alpha_sigma
from trainables.encodings.onehot import OneHot
from trainables.evaluation import probe
from trainables.models import Features, Model, Network, Output, Ports
from trainables.modes.diffusion import Diffusion
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.samplers.ddpm import DDPM
from trainables.schedules.cosine import Cosine
from trainables.settings import Probe, ProbeControl, Train

SCHEDULE = Cosine(span=16.0)
FLIP = 0.1


class Exact(Network):
    """The best denoiser of independent ±1 pixels, given a label that is wrong with probability 0.1.

    The image is the label's log-odds, so dropping it (zero) leaves the prior. The noisy pixel's own
    evidence is the mode's part, or the network's where the mode is told to leave it out.
    """

    def __init__(self, prevalence: float, evidence: bool = False) -> None:
        super().__init__()
        self.evidence = evidence
        self.prior = math.log(prevalence / (1 - prevalence))

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        if not self.evidence:
            return Output(self.prior + image_BCHW)
        alpha, sigma = alpha_sigma(SCHEDULE.log_snr(t_B.double()))
        pull = (2 * alpha / sigma.square())[:, None, None, None] * mask_BMHW
        return Output(pull + self.prior + image_BCHW)


@dataclass(frozen=True)
class ExactModel(Model):
    @property
    def stride(self) -> int:
        return 1

    def build(self, ports: Ports) -> Network:
        return Exact(0.5)


def case(side: int, prevalence: float, seed: int = 0) -> Case:
    """A tile of independent pixels, and the log-odds of their flipped labels as its image."""
    draws = torch.Generator().manual_seed(seed)
    label = torch.rand(side, side, generator=draws) < prevalence
    flipped = label ^ (torch.rand(side, side, generator=draws) < FLIP)
    odds = math.log((1 - FLIP) / FLIP)
    image = torch.where(flipped, odds, -odds).float()[None]
    return Case(f"case{seed}", "group", image, label.byte(), None)


def exact_case(side: int, prevalence: float) -> Case:
    """A tile whose shares of labels and of flips are exact: only the noise is random."""
    place = (torch.arange(side**2) + 0.5) / side**2
    label = place < prevalence
    rank = torch.where(label, place / prevalence, (place - prevalence) / (1 - prevalence))
    odds = math.log((1 - FLIP) / FLIP)
    image = torch.where(label ^ (rank < FLIP), odds, -odds).float()
    return Case("case", "group", image.view(1, side, side), label.byte().view(side, side), None)


def areas(prevalence: float) -> dict[str, float]:
    """Nats per pixel under each density, from one tile of many independent pixels."""
    config, cases = _config(256, bins=96, draws=4), [exact_case(256, prevalence)]
    rows = [
        r
        for r in probe.measure(probing_run(config, cases), Exact(prevalence))
        if r["axis"] == "log_snr"
    ]
    found = {"image": 0.0, "dropped": 0.0, "gap": 0.0}
    for r in rows:
        weight = 0.5 * (r["high"] - r["low"]) / (r["pixels"] * r["draws"])
        found[r["control"]] += weight * r["eps_error_sum"]
        if r["control"] == "image":
            found["gap"] += weight * r["eps_gap_sum"]
    return found


def _config(side: int, bins: int, draws: int = 8, more: tuple[ProbeControl, ...] = ()) -> Config:
    return Config(
        task=Synthetic(size=side),
        model=ExactModel(),
        mode=Diffusion(schedule=SCHEDULE),
        train=Train(steps=0),
        probe=Probe(bins=bins, draws=draws, controls=more),
    )


def probing_run(config: Config, cases: list[Case]) -> Run:
    """A run whose test cases are these."""
    return Run(config, WorkerContext(), Prepared([], [], cases, config.task.size))


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize(("prevalence", "nats"), [(0.5, 0.693147), (0.02, 0.098039)])
def test_half_the_error_over_log_snr_has_the_masks_entropy_as_its_area(
    prevalence: float, nats: float
) -> None:
    assert entropy(prevalence) == pytest.approx(nats, abs=1e-6)
    assert areas(prevalence)["dropped"] == pytest.approx(nats, abs=0.003)


def test_both_estimators_find_the_information_in_a_flipped_label() -> None:
    """p = 0.3, flip 0.1: H = 0.6109, H(·|image) = 0.2949, I = 0.3160 nats."""
    found = areas(0.3)
    assert found["dropped"] == pytest.approx(0.610864, abs=0.003)
    assert found["image"] == pytest.approx(0.2949, abs=0.003)
    assert found["dropped"] - found["image"] == pytest.approx(0.3160, abs=0.003)
    assert found["gap"] == pytest.approx(0.3160, abs=0.003)


def test_a_balanced_pixels_half_information_is_at_its_known_log_snr() -> None:
    from orchestrator.fingerprint.density import quantile

    edges = np.linspace(-12, 12, 2001)
    middle = torch.from_numpy((edges[1:] + edges[:-1]) / 2)
    alpha, sigma = alpha_sigma(middle)
    z = torch.linspace(-8, 8, 801).double()[:, None]
    weight = torch.exp(-z.square() / 2)
    x = alpha + sigma * z  # by symmetry, the pixel is +1
    square = (1 - torch.tanh(alpha / sigma.square() * x)).square()
    error = (weight * square).sum(0) / weight.sum() * middle.exp()
    found = quantile(error.numpy() * np.diff(edges) / 2, edges)
    assert found == pytest.approx(0.042, abs=2e-3)


def test_x0_and_eps_errors_differ_by_the_snr() -> None:
    config = _config(16, 8, draws=1)
    for row in probe.measure(probing_run(config, [case(16, 0.3)]), Exact(0.3)):
        snr = math.exp(row["log_snr_sum"] / row["draws"])
        assert row["eps_error_sum"] == pytest.approx(snr * row["x0_error_sum"], rel=1e-6)


def test_strata_tile_the_trained_range() -> None:
    mode = Diffusion(schedule=SCHEDULE, t_low=0.1, t_high=0.8)
    ends = SCHEDULE.log_snr(torch.tensor([0.8, 0.1]).double())
    edges = probe.strata(mode, "log_snr", 5)
    torch.testing.assert_close(edges[[0, -1]], ends, atol=1e-6, rtol=0)
    assert (edges.diff() > 0).all()


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, 0.5), (0.3, -1.0)])
def test_the_modes_evidence_is_bayes_rule_for_every_encoding(scale: float, offset: float) -> None:
    mode = Diffusion(schedule=SCHEDULE, encoding=OneHot(scale, offset))
    x, log_snr = torch.linspace(-2, 2, 41).reshape(41, 1, 1, 1), torch.full((41,), 0.7).double()
    alpha, sigma = alpha_sigma(log_snr[:1])
    likelihood = [
        torch.distributions.Normal(
            alpha * mode.encoding.to_x0(torch.tensor(float(m))), sigma
        ).log_prob(x)
        for m in (0, 1)
    ]
    expected = -1.5 + likelihood[1] - likelihood[0]
    found = mode.logits(torch.full_like(x, -1.5), x, log_snr)
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-4, rtol=1e-4)


def test_leaving_the_evidence_to_the_network_gives_the_same_denoiser() -> None:
    x, image = torch.randn(5, 1, 4, 4), torch.randn(5, 1, 4, 4)
    t = torch.rand(5, dtype=torch.float64)
    ours = Diffusion(schedule=SCHEDULE).denoise(Exact(0.3), x, t, image)
    theirs = Diffusion(schedule=SCHEDULE, evidence=False).denoise(
        Exact(0.3, evidence=True), x, t, image
    )
    torch.testing.assert_close(ours.x0.double(), theirs.x0.double(), atol=1e-5, rtol=1e-4)


def test_sampling_without_the_evidence_gives_the_mean_and_with_it_gives_samples() -> None:
    """Pixels are independent: given the image, a pixel is foreground with probability 0.9 or 0.1.

    With the evidence a member is a sample, whose pixels are decided; the mean over many members is
    the probability. Without it every member is the probability.
    """
    image = case(16, 0.3).image[None]
    p = torch.sigmoid(image[0, 0])

    def predicted(**fields: Any) -> Tensor:
        mode = Diffusion(schedule=SCHEDULE, sampler=DDPM(steps=40), **fields)
        return mode.predict(Exact(0.5), image, 2, [0], "none").members[0, :, 0]

    samples = predicted(members=200, sample_evidence=True)
    assert ((samples < 0.01) | (samples > 0.99)).float().mean() > 0.98
    torch.testing.assert_close(samples.mean(0), p, atol=0.15, rtol=0)
    for member in predicted(members=2):
        torch.testing.assert_close(member, p, atol=1e-5, rtol=0)


def test_every_control_is_a_row_and_costs_what_it_takes_away() -> None:
    """What is shown in place of the image or of the mask can only mislead the exact denoiser."""
    more: tuple[ProbeControl, ...] = ("shuffled_image", "random_mask", "shuffled_mask")
    config = _config(32, 4, draws=2, more=more)
    network, cases = Exact(0.3), [case(32, 0.3, seed) for seed in range(2)]
    calls: list[int] = []
    network.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    rows = probe.measure(probing_run(config, cases), network)
    assert sum(calls) == probe.passes(config, len(cases)) == 2 * 4 * 2 * 5 * 2
    error = {
        control: sum(r["x0_error_sum"] for r in rows if r["control"] == control)
        for control in ("image", "dropped", *more)
    }
    assert error["image"] < error["dropped"] < error["shuffled_image"]
    assert error["dropped"] < error["random_mask"]
    assert error["dropped"] < error["shuffled_mask"]
    unpaired = [r for r in rows if r["control"] in more]
    assert all("x0_gap_sum" not in r for r in unpaired)


@pytest.mark.parametrize("control", ["shuffled_image", "dropped_image"])
def test_a_network_that_saw_no_image_of_its_own_has_no_gain_from_one(control: Control) -> None:
    """The probe shows what the training showed: the image of another case, or none."""
    config = _config(32, 4, draws=2)
    trained = replace(config, train=replace(config.train, control=control))
    network, cases = Exact(0.3), [case(32, 0.3, seed) for seed in range(2)]

    def errors(of: Config, control: str) -> float:
        rows = probe.measure(probing_run(of, cases), network)
        return sum(r["x0_error_sum"] for r in rows if r["control"] == control)

    assert errors(config, "image") < errors(config, "dropped") <= errors(trained, "image")
    if control == "dropped_image":
        assert errors(trained, "image") == errors(trained, "dropped")


@pytest.mark.parametrize("control", ["random_mask", "shuffled_mask"])
def test_a_network_that_saw_no_mask_of_its_own_is_probed_without_one(control: Control) -> None:
    config = _config(32, 4, draws=2, more=("random_mask", "shuffled_mask"))
    mode = replace(config.mode, evidence=False)
    train = replace(config.train, control=control)
    network, cases = Exact(0.3, evidence=True), [case(32, 0.3, seed) for seed in range(2)]

    def errors(of: Config, control: str) -> float:
        rows = probe.measure(probing_run(of, cases), network)
        return sum(r["x0_error_sum"] for r in rows if r["control"] == control)

    shown = errors(replace(config, mode=mode, train=train), "image")
    assert shown == errors(replace(config, mode=mode), control)
    assert shown > errors(replace(config, mode=mode), "image")


def test_a_single_case_has_no_shuffled_control() -> None:
    config = _config(16, 2, draws=1, more=("shuffled_image",))
    rows = probe.measure(probing_run(config, [case(16, 0.3)]), Exact(0.3))
    assert {r["control"] for r in rows} == {"image", "dropped"}


@pytest.mark.parametrize("per_bin", [1, 2, 5])
def test_places_within_strata_are_antithetic_in_pairs(per_bin: int) -> None:
    at = probe.positions_in_strata(3, per_bin, torch.Generator().manual_seed(0))
    assert at.shape == (3, per_bin)
    assert at.min() >= 0
    assert at.max() <= 1
    if per_bin > 1:
        torch.testing.assert_close(at[:, 0] + at[:, 1], torch.ones(3).double())

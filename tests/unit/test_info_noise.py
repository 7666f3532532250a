"""Training times that adapt to the information: the Gaussian channel, resumes, bounds."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from trainables.checkpoint import Checkpoint
from trainables.config import Config
from trainables.data import prepared
from trainables.diffusion import alpha_sigma, as_images
from trainables.info_noise import InfoNoise
from trainables.models import Features, Network, Output
from trainables.modes import Batch
from trainables.modes.diffusion import Diffusion
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.adapted_times import AdaptedTimes
from trainables.training.loop import train
from trainables.training.state import State
from trainables.training.step import Stepper

Small = Callable[..., Config]


class Linear(Network):
    """The best linear denoiser of any x0 of unit variance: E[x0 | x] = αx for a Gaussian one."""

    def __init__(self, mode: Diffusion) -> None:
        super().__init__()
        self.mode = mode
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        alpha, _ = alpha_sigma(self.mode.log_snr(t_B, t_B.device))
        return Output(as_images(alpha) * mask_BMHW + 0 * self.unused)


def adapting(small: Small, steps: int = 400, **mode: Any) -> Config:
    fields = {
        "loss": "mse",
        "clip": False,
        "image_dropout": 0.1,
        "sampler": {"ddim": {"steps": 2}},
        "info_noise": {"warmup": 0.1, "gate": 0.0},
        **mode,
    }
    return small(
        mode={"diffusion": fields},
        train={"steps": steps, "batch": 16, "validate_every": steps, "learning_rate": 1e-12},
    )


def stepped(config: Config, steps: int, network: Callable[[Diffusion], Network] = Linear) -> State:
    """Make the first steps of a training with a denoiser that is known; returns its state."""
    state = State(Run(config, WorkerContext(), prepared(config)))
    mode = config.mode
    assert isinstance(mode, Diffusion)
    state.network = network(mode)
    state.ema = copy.deepcopy(state.network)
    stepper = Stepper(state)
    for _ in range(steps):
        stepper.advance()
    stepper.finish()
    stepper.close()
    return state


def times_of(state: State) -> AdaptedTimes:
    assert state.times is not None
    return state.times


def gaussian_shares(mode: Diffusion, rate: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the share of each stratum under a density over λ, the floor included."""
    info_noise = cast("InfoNoise", mode.info_noise)
    ends = mode.schedule.log_snr(torch.tensor([mode.t_low, mode.t_high], dtype=torch.float64))
    edges = torch.linspace(*ends.tolist(), info_noise.bins + 1, dtype=torch.float64)
    density = rate((edges[:-1] + edges[1:]) / 2)
    even = mode.schedule.time(edges).diff() / (mode.t_high - mode.t_low)
    return (1 - info_noise.floor) * density / density.sum() + info_noise.floor * even


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({}, lambda lam: lam.exp() / (1 + lam.exp())),
        ({"schedule": "cosine"}, lambda lam: lam.exp() / (1 + lam.exp())),
        ({"t_low": 0.2, "t_high": 0.8}, lambda lam: lam.exp() / (1 + lam.exp())),
        (
            {"info_noise": {"warmup": 0.1, "gate": 0.5}},
            lambda lam: lam.sigmoid() * (-lam / 2).exp() ** 3 / ((-lam / 2).exp() ** 3 + 0.5**3),
        ),
        # The weight on the error of x0 is the SNR for the target ε, so the density is the mmse.
        ({"weight": {"min_snr": {"gamma": 1e9}}}, lambda lam: (-lam).sigmoid()),
    ],
)
def test_the_density_is_that_of_the_gaussian_channel(
    small: Small, fields: dict[str, Any], rate: Callable[[Tensor], Tensor]
) -> None:
    """mmse(σ) = σ²/(1 + σ²) at σ² = 1/SNR, hence mmse/σ³ is SNR·mmse = SNR/(1 + SNR) over λ."""
    config = adapting(small, **fields)
    state = stepped(config, 120)
    expected = gaussian_shares(cast("Diffusion", config.mode), rate)
    shares = times_of(state).shares
    assert (shares / expected - 1).abs().max() < 0.1
    assert float(shares.sum()) == pytest.approx(1, abs=1e-12)


def test_cases_are_drawn_from_the_density(small: Small) -> None:
    state = stepped(adapting(small), 100)
    times = times_of(state)
    count = 100_000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    blank = torch.zeros(count)
    batch = Batch(blank, blank, uniform, blank, blank, blank, blank)
    placed = times.placed(batch, state.step).uniform_B
    mode = cast("Diffusion", state.run.config.mode)
    log_snr = mode.schedule.log_snr(placed)
    ends = mode.schedule.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    counts = torch.histc(log_snr, len(times.shares), *ends).flip(0) / count
    assert (counts - times.shares).abs().max() < 2 / count
    assert bool((placed.diff() > 0).all())
    assert float(placed.min()) >= 0
    assert float(placed.max()) <= 1


def test_every_level_keeps_its_share_of_the_even_density(small: Small) -> None:
    """Also where the denoiser makes no error at all, at every level or at most of them."""
    for floor in (0.1, 0.5):
        config = adapting(small, info_noise={"warmup": 0.1, "floor": floor})
        mode = cast("Diffusion", config.mode)
        even = gaussian_shares(
            dataclasses.replace(mode, info_noise=InfoNoise(floor=1.0)), torch.ones_like
        )
        times = AdaptedTimes(mode, 400, "cpu")
        for errors in (torch.zeros(64), torch.eye(64)[10]):
            times.sums = torch.stack([errors, torch.ones(64)]).double()
            assert bool((times.density() >= floor * even - 1e-12).all())
            assert float(times.density().sum()) == pytest.approx(1, abs=1e-12)


def test_the_first_steps_are_even_in_time(small: Small) -> None:
    even, adapted = small(), small(mode={"diffusion": {"info_noise": {"warmup": 0.5}}})
    assert losses(adapted)[:3] == losses(even)[:3]
    assert losses(adapted)[3:] != losses(even)[3:]


def losses(config: Config) -> list[float]:
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, validate_every=1, steps=6)
    )
    run = train(config, WorkerContext())
    while True:
        try:
            next(run)
        except StopIteration as end:
            return [row["loss_sum"] for row in end.value.record.history]


def test_twins_do_not_count(small: Small) -> None:
    mode = {"feedforward_share": 0.5, "info_noise": {}}
    state = State(run_of(small(mode={"diffusion": mode}, train={"steps": 40, "batch": 16})))
    stepper = Stepper(state)
    for _ in range(4):
        stepper.advance()
    stepper.close()
    decay = math.exp(-1 / 8)
    every = sum(16 * decay**i for i in range(4))
    assert 0.2 * every < float(times_of(state).sums[1].sum()) < 0.8 * every


def run_of(config: Config) -> Run:
    return Run(config, WorkerContext(), prepared(config))


def test_a_resumed_run_adapts_to_the_identical_numbers(small: Small) -> None:
    """Densities follow from the errors before step 4, and before step 14, after the resume."""
    config = small(
        mode={"diffusion": {"sampler": {"ddim": {"steps": 2}}, "info_noise": {}}},
        train={"steps": 20, "batch": 4, "validate_every": 4},
    )

    def ends(resume: Checkpoint | None, at: int | None) -> tuple[Checkpoint | None, Any]:
        run = train(config, WorkerContext(), resume)
        kept = None
        while True:
            try:
                progress = next(run)
            except StopIteration as end:
                return kept, end.value
            if progress.step == at:
                file = io.BytesIO()
                progress.save().write(file)
                file.seek(0)
                kept = Checkpoint.read(file)

    kept, whole = ends(None, 8)
    assert kept is not None
    _, resumed = ends(kept, None)
    assert [row["loss_sum"] for row in resumed.record.history] == [
        row["loss_sum"] for row in whole.record.history
    ]


@pytest.mark.parametrize("fields", [{"warmup": 0.0}, {"floor": 0.0}, {"gate": -1.0}, {"bins": 1}])
def test_a_bad_value_is_named(small: Small, fields: dict[str, Any]) -> None:
    ((name, value),) = fields.items()
    with pytest.raises(ValueError, match=rf"info_noise: {name}={value} must"):
        small(mode={"diffusion": {"info_noise": fields}})


def test_training_on_another_mask_is_refused(small: Small) -> None:
    mode = {"diffusion": {"evidence": False, "info_noise": {}}}
    with pytest.raises(ValueError, match="train.control='random_mask' needs info_noise=null"):
        small(mode=mode, train={"steps": 6, "batch": 4, "control": "random_mask"})

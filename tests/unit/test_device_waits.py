"""No step and no sampling pass reads a tensor of the device, which would wait for all its work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small import MODELS
from trainables import batches
from trainables.config import Config
from trainables.data import prepared
from trainables.evaluation.predict import inference
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.state import State
from trainables.training.step import learner_of, step

DEVICE = "meta"
"""Tensors without data: to read one on the host raises."""
DDPM: dict[str, Any] = {"steps": 3, "variance": "learned"}
MODES: dict[str, dict[str, Any]] = {
    "cross_entropy": {"dice_weight": 0.5},
    "velocity": {"loss": "mse", "target": "v", "weight": "min_snr"},
    "flow": {"loss": "mse", "target": "flow", "schedule": "rectified_flow"},
    "hybrid": {"loss": "hybrid", "target": "eps", "sampler": {"ddpm": DDPM}},
    "guess": {"start": "one_step", "t_start": 0.5, "members": 2},
    "twin": {"feedforward_share": 0.2, "start": "feedforward", "t_start": 0.5},
    "solver": {"sampler": {"dpm_solver": {"steps": 3, "spacing": "log_snr"}}},
}


def step_and_predict(config: Config) -> None:
    """Make a step and a prediction with tensors of a device that has no data."""
    run = Run(config, WorkerContext(device=DEVICE), prepared(config))
    state = State(run)
    state.optimizer = torch.optim.AdamW(state.network.parameters())  # the fused one has no kernel
    batch = batches.draw(Run(config, WorkerContext(), run.data), 0).to(DEVICE)
    step(state, learner_of(run, state.network), batch)
    images = torch.zeros(2, config.task.channels, *2 * [config.task.size], device=DEVICE)
    with inference(run, state.network):
        config.mode.predict(state.network, images, config.classes, [1, 2], "none")


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no device without data, not even to switch it off."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_of_diffusion_reads_the_device(small: Callable[..., Config], mode: str) -> None:
    step_and_predict(small(mode={"diffusion": MODES[mode]}))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["diffusion", "feedforward"])
def test_no_network_reads_the_device(small: Callable[..., Config], model: str, mode: str) -> None:
    step_and_predict(small(model={model: MODELS[model]}, mode=mode))


@pytest.mark.parametrize(
    "read", [Tensor.cpu, float, bool, lambda x: x[x > 0], lambda x: torch.zeros(1).copy_(x)]
)
def test_a_reading_of_the_device_raises(read: Callable[[Tensor], object]) -> None:
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        read(torch.zeros(1, device=DEVICE))

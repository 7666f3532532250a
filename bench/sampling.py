"""Sampling of EnsemDiff with few steps in batches, against a straightforward implementation.

Both use one network, trained here for a minute, and an ensemble of three. The straightforward way
is ancestral sampling through all 1,000 timesteps, one image and one member at a time, with the
default memory layout. The other is DPM-Solver++ in a few steps, with all images and members in one
batch.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainables.checkpoint import Checkpoint
from trainables.config import Config, parse
from trainables.data import Prepared, prepare
from trainables.models import Network
from trainables.modes.diffusion import Diffusion
from trainables.run import Run
from trainables.runtime.memory import peak_host, reset_peak_memory
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.samplers.ddpm import DDPM
from trainables.samplers.dpm_solver import DPMSolver
from trainables.training.final_test import RunResult
from trainables.training.loop import Progress, train
from trainables.training.state import State

SIZES = (64, 128)
STEPS = (5, 10)
IMAGES, MEMBERS = 2, 3


def main() -> None:
    """Print seconds per image, Dice, peak memory and the ratio of times, per image size."""
    torch.set_num_threads(os.cpu_count() or 1)
    place = WorkerContext(device=best_device())
    for size in SIZES:
        config = config_of(size)
        data = prepare(config.task, "tiles")
        network, mode = trained(config, data, place), config.mode
        assert isinstance(mode, Diffusion)
        full = dataclasses.replace(mode, sampler=DDPM(steps=1000), members=1)
        plain = network.to(memory_format=torch.contiguous_format)
        slow = measured(partial(one_by_one, full, plain, data, place), data, place)
        print(f"sampling: {size} px, straightforward, 1000 steps: {described(slow)}")
        network = network.to(memory_format=torch.channels_last)
        for steps in STEPS:
            few = dataclasses.replace(mode, sampler=DPMSolver(steps=steps), members=MEMBERS)
            ours = measured(partial(at_once, few, network, data, place), data, place)
            print(
                f"sampling: {size} px, ours, {steps} steps: {described(ours)},"
                f" ratio {slow[0] / ours[0]:.0f}"
            )


def config_of(size: int) -> Config:
    """Return the config of the quickstart's network on discs with strong noise."""
    return parse(
        {
            "task": {"synthetic": {"size": size, "cases": 16, "radius": size / 8, "noise": 1.5}},
            "model": {
                "ensemdiff": {
                    "channels": 16,
                    "multipliers": [1, 2, 4],
                    "blocks": 1,
                    "attention": [],
                }
            },
            "mode": {"diffusion": {}},
            "train": {"steps": 150, "batch": 8, "learning_rate": 2e-3, "validate_every": 75},
            "probe": {"bins": 0},
        }
    )


def trained(config: Config, data: Prepared, place: WorkerContext) -> Network:
    """Return the network with the best weights of a short training."""
    run: Generator[Progress, None, RunResult] = train(config, place)
    checkpoint: Checkpoint | None = None
    for progress in run:
        checkpoint = progress.save()
    assert checkpoint is not None
    state = State(Run(config, place, data))
    state.load(checkpoint, config.digest())
    return state.best.eval()


@torch.no_grad()
def at_once(mode: Diffusion, network: Network, data: Prepared, place: WorkerContext) -> Tensor:
    """Return the foreground probabilities of the ensemble's mean: [IMAGES, H, W]."""
    images = torch.stack([c.image for c in data.test[:IMAGES]]).to(place.device)
    images = images.contiguous(memory_format=torch.channels_last)
    return mode.predict(network, images, 2, list(range(IMAGES)), "none").members.mean(1)[:, 0]


@torch.no_grad()
def one_by_one(mode: Diffusion, network: Network, data: Prepared, place: WorkerContext) -> Tensor:
    """Return the same, computed one image and one member at a time."""
    found: list[Tensor] = []
    for i, case in enumerate(data.test[:IMAGES]):
        image = case.image[None].to(place.device)
        seeds = [1000 * i + member for member in range(MEMBERS)]
        members = [mode.predict(network, image, 2, [s], "none").members for s in seeds]
        found.append(torch.cat(members, 1).mean(1)[0, 0])
    return torch.stack(found)


def measured(
    way: Callable[[], Tensor], data: Prepared, place: WorkerContext
) -> tuple[float, float, float]:
    """Return seconds per image, Dice, and the rise of peak memory in MiB."""
    reset_peak_memory(place.device)
    before = _peak(place)
    began = time.perf_counter()
    p = way().cpu()
    seconds = (time.perf_counter() - began) / IMAGES
    memory = (_peak(place) - before) / 2**20
    truth = torch.stack([c.labels for c in data.test[:IMAGES]]) > 0
    found = p > 0.5
    dice = float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    return seconds, dice, memory


def _peak(place: WorkerContext) -> int:
    """Return the peak memory in bytes since it was reset."""
    return peak_host() if place.device == "cpu" else torch.cuda.max_memory_allocated()


def described(numbers: tuple[Any, ...]) -> str:
    """Return a measurement as text."""
    seconds, dice, memory = numbers
    return f"{seconds:.3f} s per image, Dice {dice:.4f}, memory +{memory:.0f} MiB"

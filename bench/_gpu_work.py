"""The configs and measurements of :mod:`bench.gpu`."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.config import Config, parse
from trainables.data import prepare
from trainables.models import multiply_adds
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import configure_torch
from trainables.training.state import State
from trainables.training.step import Stepper

UNET: dict[str, Any] = {"channels": 64, "multipliers": [1, 2, 2, 4], "blocks": 2, "attention": [8]}
TINY: dict[str, Any] = {"channels": 8, "multipliers": [1, 2, 2, 2], "blocks": 1, "attention": []}
NETWORKS = ("ensemdiff", "segdiff", "medsegdiff_v1", "medsegdiff_new")


@dataclass(frozen=True)
class Setting:
    """Where and how large the measurements are."""

    device: str
    quick: bool = False

    @property
    def batch(self) -> int:
        """Images per step."""
        return 2 if self.quick else 8

    @property
    def steps(self) -> int:
        """Steps per measurement, after two that are not counted."""
        return 1 if self.quick else 10

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the images, pixels."""
        return (16,) if self.quick else (64, 128, 256)

    def config(self, network: str, size: int, precision: str, *, compiled: bool = False) -> Config:
        """Return the config of a network on discs."""
        fields = dict(TINY if self.quick else UNET)
        if network == "segdiff":
            fields |= {"dense_blocks": 1, "dense_features": 8, "dense_growth": 4}
        if network == "medsegdiff_v1":
            fields |= {"map_size": size}
        return parse(
            {
                "task": {"synthetic": {"size": size, "cases": 8, "radius": size / 8}},
                "model": {network: fields},
                "mode": {"diffusion": {"target": "eps", "loss": "mse"}},
                "train": {
                    "steps": 10_000,
                    "batch": self.batch,
                    "precision": precision,
                    "compile": compiled,
                },
            }
        )

    def state(self, config: Config) -> State:
        """Return a trainer of a config on the device."""
        context = WorkerContext(device=self.device)
        configure_torch(config, context)
        return State(Run(config, context, prepare(config.task, "tiles")))

    def wait(self) -> None:
        """Wait until the device has finished."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the median duration of a call, until the device has finished."""
        for _ in range(2):
            work()
        self.wait()
        durations: list[float] = []
        for _ in range(self.steps):
            began = time.perf_counter()
            work()
            self.wait()
            durations.append(time.perf_counter() - began)
        return statistics.median(durations)


def seconds_per_step(setting: Setting, config: Config) -> float:
    """Return the seconds of a training step."""
    stepper = Stepper(setting.state(config))
    try:
        return setting.seconds(stepper.advance)
    finally:
        stepper.close()


def seconds_per_plain_step(setting: Setting, config: Config) -> float:
    """Return the seconds of a step as the original repositories write it, on a ready batch."""
    state = setting.state(config)
    network: Any = copy.deepcopy(state.network).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    from trainables import batches

    batch = batches.draw(state.run, 0).to(setting.device)

    def step() -> float:
        optimizer.zero_grad()
        network.seed(batch.seeds_B)
        loss = config.mode.losses(network.train(), batch, config.classes, "none").mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return setting.seconds(step)


def flops_per_step(config: Config) -> float:
    """Return the floating-point operations of a step: a pass, and twice as many backwards."""
    network = config.model.build(config.ports)
    return 3 * 2 * config.train.batch * multiply_adds(network, config.ports, config.task.size)


def matmul_flops(setting: Setting, precision: str) -> float:
    """Return the operations per second of a large matrix product: the roof of the device."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    side = 128 if setting.quick else 8192
    a = torch.randn(side, side, device=setting.device, dtype=kind)
    return 2 * side**3 / setting.seconds(lambda: a @ a)


def fused_seconds(setting: Setting, config: Config, arms: int) -> float:
    """Return the seconds of a pass and its gradient for several networks in one call (vmap)."""
    state = setting.state(config)
    network: Any = state.network.eval().to(memory_format=torch.contiguous_format)  # for vmap
    weights = {name: torch.stack([x.detach()] * arms) for name, x in network.named_parameters()}
    buffers = {name: torch.stack([x] * arms) for name, x in network.named_buffers()}
    ports, size = config.ports, config.task.size
    x = torch.randn(setting.batch, ports.mask, size, size, device=setting.device)
    image = torch.randn(setting.batch, ports.image, size, size, device=setting.device)
    t = torch.rand(setting.batch, device=setting.device)

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        output = torch.func.functional_call(network, (weights, buffers), (x, t, image))
        return output.main.square().mean()

    gradient = torch.func.vmap(torch.func.grad(loss))
    return setting.seconds(lambda: gradient(weights, buffers))

"""The training step of EnsemDiff against the step of the original repositories.

The reference has the same network, batch, loss and clipping, and is written as the originals write
it: contiguous memory, attention by explicit softmax, one AdamW with torch's defaults, and the
weight average in a loop over the parameters. The two alternate in one process, and the time is that
of the process on a CPU, which other processes disturb less. On a GPU, the training step also uses
bfloat16 autocast, and is timed with torch.compile as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainables import batches
from trainables.config import Config, parse
from trainables.data import Prepared, prepare
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.state import State
from trainables.training.step import Stepper

STEPS = 6
SIZES = (64, 128)


def main() -> None:
    """Print the seconds per step of the alternating ways, and their ratios."""
    torch.set_num_threads(os.cpu_count() or 1)
    place = WorkerContext(device=best_device())
    for size in SIZES:
        config = config_of(size, place)
        data = prepare(config.task, "tiles")
        ways = {
            "reference": reference(config_of(size, place, fast=False), data, place),
            "ours": ours(config, data, place),
        }
        if place.device != "cpu":  # compiling for a CPU takes minutes and gives no speed-up
            ways["ours, compiled"] = ours(config_of(size, place, compile=True), data, place)
        for way in ways.values():
            for _ in range(2):
                way()  # the first calls select kernels and compile
        seconds = dict.fromkeys(ways, 0.0)
        for _ in range(STEPS):
            for name, way in ways.items():
                seconds[name] += timed(way, place)
        for name, total in seconds.items():
            ratio = seconds["reference"] / total
            print(
                f"training_step: {size} px, {name}: {total / STEPS:.3f} s per step,"
                f" ratio {ratio:.2f}, loss {ways[name]():.4f}"
            )


def config_of(
    size: int,
    place: WorkerContext,
    *,
    fast: bool = True,
    compile: bool = False,  # noqa: A002
) -> Config:
    """Return the config of the quickstart's network with attention, batch 8, on discs."""
    gpu = place.device != "cpu"
    return parse(
        {
            "task": {"synthetic": {"size": size, "cases": 8, "radius": size / 8}},
            "model": {
                "ensemdiff": {
                    "channels": 64 if gpu else 16,
                    "multipliers": [1, 2, 4],
                    "blocks": 1,
                    "attention": [4],
                }
            },
            "mode": {"diffusion": {"target": "eps", "loss": "mse"}},
            "train": {
                "batch": 8,
                "compile": compile,
                "precision": "bfloat16" if gpu and fast else "float32",
            },
        }
    )


def timed(way: Callable[[], float], place: WorkerContext) -> float:
    """Return the seconds of one step: of the processor, or until the GPU has finished."""
    if place.device == "cpu":
        began = time.process_time()
        way()
        return time.process_time() - began
    began = time.perf_counter()
    way()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def ours(config: Config, data: Prepared, place: WorkerContext) -> Callable[[], float]:
    """Return a function that runs the step of the training loop."""
    state = State(Run(config, place, data))
    stepper = Stepper(state)
    return lambda: stepper.advance() / config.train.batch


def reference(config: Config, data: Prepared, place: WorkerContext) -> Callable[[], float]:
    """Return a function that runs the step of the originals."""
    state = State(Run(config, place, data))
    network, mean = (
        n.to(memory_format=torch.contiguous_format) for n in (state.network, state.ema)
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.train.learning_rate, weight_decay=0.0
    )
    count = 0

    def one() -> float:
        nonlocal count
        batch = batches.draw(Run(config, WorkerContext(), data), count).to(place.device)
        optimizer.zero_grad()
        with sdpa_kernel(SDPBackend.MATH):
            loss = config.mode.losses(network.train(), batch, config.classes, "none").mean()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.train.clip)
        optimizer.step()
        with torch.no_grad():
            decay = min(config.train.ema, (1 + count) / (10 + count))
            for average, weight in zip(mean.parameters(), network.parameters(), strict=True):
                average.mul_(decay).add_(weight, alpha=1 - decay)
        count += 1
        return loss.item()

    return one

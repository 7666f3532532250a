"""A training step with channels last, as the loop does it, against the default memory layout."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from trainables.models.ensemdiff import EnsemDiff

STEPS = 8


def main() -> None:
    """Print seconds per step both ways, alternating, and their ratio."""
    torch.set_num_threads(1)
    layouts = {"default": torch.contiguous_format, "channels last": torch.channels_last}
    seconds = dict.fromkeys(layouts, 0.0)
    trained = {name: stepper(layout) for name, layout in layouts.items()}
    for step in trained.values():
        step()  # the first call chooses kernels
    for _ in range(STEPS):
        for name, step in trained.items():
            began = time.perf_counter()
            step()
            seconds[name] += time.perf_counter() - began
    for name, total in seconds.items():
        print(f"channels_last: {name}: {total / STEPS:.3f} s per step")
    print(f"channels_last: ratio {seconds['default'] / seconds['channels last']:.2f}")


def stepper(layout: torch.memory_format) -> Callable[[], None]:
    """A closure that makes one training step of the quickstart's network at 64 px, batch 8."""
    torch.manual_seed(0)
    network = EnsemDiff(channels=16, multipliers=(1, 2, 4), blocks=1, attention=()).build(1, 1, 1)
    network = network.to(memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), foreach=True)
    x = torch.randn(8, 1, 64, 64).to(memory_format=layout)
    t = torch.rand(8)

    def step() -> None:
        optimizer.zero_grad()
        network(x, t, x).square().mean().backward()
        optimizer.step()

    return step

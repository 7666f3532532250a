"""Noise of a training step: of the whole batch on the host, or of one worker's share on the device.

Both are timed in CPU seconds of one thread, so that other processes do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from trainables.runtime import philox
from trainables.runtime.seeding import generator

BATCH, WORKERS, REPEATS = 16, (1, 4, 16), 20


def main() -> None:
    """Print the milliseconds per step of both, by image size and number of workers."""
    torch.set_num_threads(1)
    for size in (64, 256):
        host = milliseconds(partial(draw_batch, size))
        print(f"noise: {size} px, batch {BATCH}: host {host:.2f} ms on every worker")
        for workers in WORKERS:
            own = milliseconds(partial(draw_share, size, workers))
            ratio = f"ratio {own / host:.1f}"
            print(f"noise: {size} px, {workers} workers: device {own:.2f} ms, {ratio}")


def draw_batch(size: int, step: int) -> torch.Tensor:
    """Draw the noise of a batch as every worker does on its host."""
    return torch.randn((BATCH, 1, size, size), generator=generator(0, step, "noise"))


def draw_share(size: int, workers: int, step: int) -> torch.Tensor:
    """Draw the noise of one worker's share of a batch as its device does."""
    return philox.normal(0, step, 0, range(0, BATCH, workers), (1, size, size), "cpu")


def milliseconds(draw: Callable[[int], object]) -> float:
    """Return the fewest CPU milliseconds of a call."""
    times: list[float] = []
    for i in range(REPEATS):
        began = time.process_time()
        draw(i)
        times.append(time.process_time() - began)
    return 1000 * min(times[1:])

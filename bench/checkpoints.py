"""Checkpoints in the background against checkpoints in the foreground.

Both train the same network and write the same checkpoints to a local directory, or to the store
that ``SEGPRINT_BENCH_STORE`` names. A step in the foreground way waits for the whole write; in the
background way it waits for the copy of the state, and shares the processor with the writer.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.storage.object_store import Store
from trainables.checkpoint import Checkpoint
from trainables.config import Config, parse
from trainables.data import prepare
from trainables.run import Run
from trainables.runtime.memory import peak_host, reset_peak_memory
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.checkpoint_writer import CheckpointWriter
from trainables.training.state import State
from trainables.training.step import Stepper

STEPS = 12
"""Steps after a checkpoint, during which it is written."""
CHECKPOINTS = 3


def main() -> None:
    """Print the seconds that a checkpoint costs the training in each way, and their ratio."""
    torch.set_num_threads(os.cpu_count() or 1)
    config, context = config_of(), WorkerContext(device=best_device())
    state = State(Run(config, context, prepare(config.task, "tiles")))
    stepper = Stepper(state)
    for _ in range(2):
        stepper.advance()
    state.keep_best()
    size = sum(p.numel() for p in state.network.parameters())
    with tempfile.TemporaryDirectory() as folder:
        store = Store(os.environ.get("SEGPRINT_BENCH_STORE", folder))
        sink = LedgerSink(Ledger(store), "bench")
        writer = CheckpointWriter(sink, "bench")
        ways: dict[str, Callable[[Checkpoint], None]] = {
            "foreground": lambda checkpoint: sink.keep("bench", checkpoint),
            "background": writer.begin,
        }
        without = statistics.mean(timed(stepper.advance) for _ in range(STEPS))
        waits: dict[str, float] = {}
        for name, write in ways.items():
            reset_peak_memory(context.device)
            before = peak_host()
            stalls: list[float] = []
            steps: list[float] = []
            for _ in range(CHECKPOINTS):
                stalls.append(timed(lambda: write(state.save("bench"))))  # noqa: B023
                steps += [timed(stepper.advance) for _ in range(STEPS)]
                writer.wait()
            waits[name] = statistics.mean(stalls)
            delay = statistics.mean(steps) / without - 1
            print(
                f"checkpoints: {size / 1e6:.1f} M parameters, {name}: training waits"
                f" {waits[name]:.3f} s; the {STEPS} steps after it, {without:.3f} s each, take"
                f" {100 * delay:+.1f} %; peak memory +{(peak_host() - before) / 2**20:.0f} MiB"
            )
    print(f"checkpoints: ratio {waits['foreground'] / waits['background']:.1f}")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def config_of() -> Config:
    """Return the config of a network with 16 million parameters on small images."""
    return parse(
        {
            "task": {"synthetic": {"size": 32, "cases": 8}},
            "model": {
                "ensemdiff": {
                    "channels": 96,
                    "multipliers": [1, 2, 3],
                    "blocks": 1,
                    "attention": [],
                }
            },
            "mode": {"diffusion": {"target": "eps", "loss": "mse"}},
            "train": {"batch": 4},
        }
    )

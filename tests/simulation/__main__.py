"""``make simulate``: many sequences on all CPUs; a failure prints its steps and its seed."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.machine import MACHINE_TYPES, simulate

TOGETHER = 125
"""Sequences of one seed."""


def run(task: tuple[str, int]) -> str | None:
    """Run the sequences of a seed; return the report of a failure."""
    kind, seed = task
    logging.disable(logging.WARNING)
    try:
        simulate(MACHINE_TYPES[kind], TOGETHER, seed=seed)
    except Exception:
        return f"{kind}, seed {seed}:\n{traceback.format_exc()}"
    return None


def main() -> int:
    """Run as many sequences as the argument says, half of them of each kind."""
    wanted, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    seeds = range(first, first + -(-wanted // (TOGETHER * len(MACHINE_TYPES))))
    tasks = [(kind, seed) for seed in seeds for kind in MACHINE_TYPES]
    started, failures = time.monotonic(), 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, failure in enumerate(pool.map(run, tasks), 1):
            seconds = time.monotonic() - started
            print(f"\r{done * TOGETHER} sequences, {seconds:.0f} s", end="", flush=True)
            if failure is not None:
                failures += 1
                print(f"\n{failure}", flush=True)
    print(f"\n{failures} of {len(tasks)} seeds failed (first seed: {first})")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())

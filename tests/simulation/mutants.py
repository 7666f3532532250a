"""``make mutants``: how fast random sequences find each planted fault.

Prints the seconds of one CPU until a sequence fails, those until it is shrunk, and its steps then.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass

import pytest

from tests.simulation.machine import Sequences, simulate
from tests.simulation.planted import MUTANTS, Mutant

SECONDS = 300.0
"""A mutant must be found within this time."""
MOST_STEPS = 12
"""The most steps of a sequence that shows a mutant, after shrinking."""
AT_ONCE = 100
"""Sequences of one seed, between two looks at the clock."""


@dataclass(frozen=True)
class Found:
    """How a mutant was found."""

    seconds: float
    shrunk: float
    """Seconds after shrinking."""
    steps: int
    error: str


def find(mutant: Mutant) -> Found | None:
    """Run sequences against a mutant; None if it is not found in time."""
    started, seed = time.process_time(), 0
    with planted(mutant):
        while time.process_time() - started < SECONDS:
            try:
                simulate(mutant.machine, AT_ONCE, seed=seed, shrink=False)
            except Exception:
                break
            seed += 1
        else:
            return None
        found = time.process_time() - started
        try:
            simulate(mutant.machine, AT_ONCE, seed=seed)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".partition("\n")[0]
            return Found(found, time.process_time() - started, Sequences.last.steps, text)
    raise AssertionError("a seed does not repeat its sequences")


@contextlib.contextmanager
def planted(mutant: Mutant) -> Generator[None]:
    """Plant a mutant in every world."""
    with pytest.MonkeyPatch.context() as patch:
        began = Sequences.__init__

        def planted_world(self: Sequences) -> None:
            began(self)
            mutant.plant(self.world.patch)

        patch.setattr(Sequences, "__init__", planted_world)
        yield


def main() -> int:
    """Print the table of mutants; return how many were not found or are too long."""
    logging.disable(logging.WARNING)
    bad = 0
    print(f"{'mutant':34} {'found s':>8} {'shrunk s':>8} {'steps':>5}  error", flush=True)
    for mutant in MUTANTS:
        if sys.argv[1:] and mutant.name not in sys.argv[1:]:
            continue
        found = find(mutant)
        bad += found is None or found.steps > MOST_STEPS
        if found is None:
            print(f"{mutant.name:34} {'not found':>8}", flush=True)
        else:
            print(
                f"{mutant.name:34} {found.seconds:8.1f} {found.shrunk:8.1f} {found.steps:5}"
                f"  {found.error[:80]}",
                flush=True,
            )
    return bad


if __name__ == "__main__":
    sys.exit(main())

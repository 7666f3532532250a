"""Hard limits of a command: a call that cannot be interrupted ends with its process.

DuckDB stops between two batches of rows and counts what it puts in buffers; one call of a scalar
function over a list of a hundred million numbers is neither.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

EVERY = 0.05
"""Seconds between two looks."""


@contextmanager
def limited(what: str, seconds: float, memory: int, *, hard: bool = True) -> Generator[None]:
    """End the process, with exit code 2, if the body takes longer or grows by more bytes."""
    if not hard:
        yield
        return
    done, began, before = threading.Event(), time.monotonic(), _resident()

    def watch() -> None:
        while not done.wait(EVERY):
            if time.monotonic() - began > seconds:
                _end(f"{what}: stopped after {seconds:.0f} s")
            if _resident() - before > memory:
                _end(f"{what}: stopped at {memory / 2**30:.1f} GiB of memory")

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _end(why: str) -> None:
    sys.stderr.write(f"segprint: {why}\n")
    sys.stderr.flush()
    os._exit(2)


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

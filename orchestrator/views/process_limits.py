"""Hard limits of time and memory: a call that cannot be interrupted ends with its process.

DuckDB can be interrupted between two batches of rows, and limits the memory of its buffers. One
call of a scalar function on a list of a hundred million numbers escapes both.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

POLL_SECONDS = 0.05


@contextmanager
def limited(what: str, seconds: float, memory: int, *, hard: bool = True) -> Generator[None]:
    """End the process with exit code 2 if the block exceeds a limit; do nothing if not ``hard``.

    The limits are ``seconds`` of time and ``memory`` bytes by which the process grows.
    """
    if not hard:
        yield
        return
    ended, began, before = threading.Event(), time.monotonic(), _resident()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            if time.monotonic() - began > seconds:
                _exit(f"{what}: stopped after {seconds:.0f} s")
            if _resident() - before > memory:
                _exit(f"{what}: stopped at {memory / 2**30:.1f} GiB of memory")

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _exit(why: str) -> None:
    sys.stderr.write(f"segprint: {why}\n")
    sys.stderr.flush()
    os._exit(2)


def _resident() -> int:
    """Return the bytes of this process in memory; 0 where /proc is missing."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

"""Processes that a drill started, found through the system."""

from __future__ import annotations

import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that any thread of a process started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    return [d for child in children(pid) for d in (child, *descendants(child))]


def assert_end(processes: list[int], patience: float = 20) -> None:
    """All of some processes end by themselves."""
    assert processes
    deadline = time.monotonic() + patience
    while left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.1)

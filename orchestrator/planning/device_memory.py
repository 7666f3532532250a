"""The memory of a machine and of its GPUs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch


class NodeMemory(NamedTuple):
    """The CPUs, the GPUs and the memory of one node."""

    cpus: float
    gpus: float
    host: int | None
    """Bytes of RAM that processes may use; None if unknown."""
    gpu: int | None = None
    """Bytes of its largest GPU; None if there is none, or its size is unknown."""


def host_memory() -> int:
    """Return the bytes of RAM of this machine, or of this container if it has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no limit, or not Linux
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total


def available_memory(device: str) -> int:
    """Return the bytes of a kind of device that are free now; of a GPU, all of its memory."""
    if device != "cpu":
        return gpu_memory() or 0
    with suppress(OSError):  # Linux only
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return min(host_memory(), 1024 * int(line.split()[1]))
    return host_memory()


def gpu_memory() -> int | None:
    """Return the bytes of the largest GPU that this process may use; None without one."""
    cuda: Any = torch.cuda
    sizes = (cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))
    return max(sizes, default=None)


def memory_here(cpus: float, gpus: float) -> NodeMemory:
    """Return the memory of this machine."""
    return NodeMemory(cpus, gpus, host_memory(), gpu_memory())

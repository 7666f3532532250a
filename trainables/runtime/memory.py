"""The peak memory of a process, on the host and on its device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch


def reset_peak_memory(device: str) -> None:
    """Forget the peak of earlier trials in the same process."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the host."""
    on_host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return on_host or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def release_memory() -> None:
    """Return the memory of freed tensors to the system, which torch and the C library keep."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def peak_device(device: str) -> int | None:
    """Return the most bytes allocated on the device at once; None on the CPU."""
    return None if device == "cpu" else torch.cuda.max_memory_allocated(device)


def peak_host() -> int:
    """Return the largest resident size of the process, bytes."""
    with contextlib.suppress(OSError):  # Linux only; some containers hide the line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte

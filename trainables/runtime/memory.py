"""The memory of a process on the host and on its device: peaks and limits."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

T = TypeVar("T")

_earlier_peaks: dict[str, int] = {}
"""The largest peak of each device before :func:`measured` reset it, in bytes."""


_cache = threading.RLock()


@contextlib.contextmanager
def cache_held() -> Generator[None]:
    """Keep other threads from emptying the cache of a GPU, which fails during a capture."""
    with _cache:
        yield


def reset_peak_memory(device: str) -> None:
    """Forget the peak of earlier trials in the same process."""
    _earlier_peaks.clear()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def limit_memory(device: str, share: float) -> None:
    """Limit the process to its share of a GPU, and release what earlier trials left in the cache.

    A larger allocation raises ``torch.OutOfMemoryError``. The context of CUDA is not counted.
    """
    if device != "cpu":
        release_memory()
        cuda: Any = torch.cuda  # its types are partly unknown
        # torch refuses a device without an index here.
        cuda.set_per_process_memory_fraction(share, device if ":" in device else None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the host."""
    on_host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return on_host or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def release_memory() -> None:
    """Return the memory of freed tensors to the system, which torch and the C library keep."""
    gc.collect()
    if torch.cuda.is_initialized():
        with cache_held():
            torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def peak_device(device: str) -> int | None:
    """Return the most bytes allocated on the device at once; None on the CPU."""
    if device == "cpu":
        return None
    return max(_earlier_peaks.get(device, 0), torch.cuda.max_memory_allocated(device))


class DeviceUse(NamedTuple):
    """The memory of a device for one piece of work, bytes."""

    used: int
    """More than before at the most."""
    free: int
    """Free after it, for this process."""


def measured(device: str, share: float, work: Callable[[], T]) -> tuple[T, DeviceUse]:
    """Run some work and return its result with the memory that it used on a GPU.

    ``share`` is the share of the GPU that the process may use.
    """
    _earlier_peaks[device] = peak_device(device) or 0
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = work()
    used = torch.cuda.max_memory_allocated(device) - before
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    kept = torch.cuda.memory_reserved(device) - allocated  # by the allocator, for later tensors
    return result, DeviceUse(used, min(free + kept, int(share * total) - allocated))


def peak_host() -> int:
    """Return the largest resident size of the process, bytes."""
    with contextlib.suppress(OSError):  # Linux only; some containers hide the line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte

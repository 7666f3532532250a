"""What a run depends on beside its config: packages, machine, devices, threads.

Read from libraries and the system, never from environment variables: nothing secret can be in it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trainables.runtime.worker_context import WorkerContext

PACKAGES = ("torch", "numpy", "scipy")
"""Whose arithmetic a run's numbers come from."""


@functools.cache
def packages(device: str, library: str | None = None) -> dict[str, str]:
    """Versions that decide the last bits of a result on a kind of device; read once.

    ``library`` is that of the model, where it is another's and is installed.
    """
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    if library is not None and importlib.util.find_spec(library) is not None:
        found[library] = version(library)
    if device != "cpu":
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found


@functools.cache
def device_name(device: str) -> str:
    """The model of a processor, with the instructions that torch uses, or of a GPU."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def ran_on(context: WorkerContext, library: str | None = None) -> dict[str, Any]:
    """Columns of a ``trials`` row; all workers call it, and each gets the whole."""
    mine = {"device": device_name(context.device), "host": platform.node()}
    workers = context.gather([mine])
    return {
        "world_size": context.world,
        "device": device_name(context.device),
        "devices": json.dumps([worker["device"] for worker in workers]),
        "threads": torch.get_num_threads(),
        "host": ", ".join(dict.fromkeys(str(worker["host"]) for worker in workers)),
        "platform": platform.platform(),
        "packages": json.dumps(packages(context.device, library)),
    }


def _cpu_model() -> str:
    """The processor as its maker calls it; its architecture where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

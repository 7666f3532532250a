"""The environment of a run: packages, machine, devices and threads.

It is read from libraries and the system, never from environment variables, so it holds no secrets.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from trainables.rows import Environment
from trainables.runtime.worker_context import WorkerContext

PACKAGES = ("torch", "numpy", "scipy")
"""The packages whose arithmetic decides the numbers of a run."""


class _Worker(NamedTuple):
    device: str
    host: str


@functools.cache
def packages(device: str, library: str | None = None) -> dict[str, str]:
    """Return the versions that decide the last bits of a result on a kind of device.

    ``library`` is the external library of the model; it is ignored where it is not installed.
    """
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    if library is not None and importlib.util.find_spec(library) is not None:
        versions[library] = version(library)
    if device != "cpu":
        versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return versions


@functools.cache
def device_name(device: str) -> str:
    """Return the model of a GPU, or of a processor with the instructions that torch uses."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def environment_of(context: WorkerContext, library: str | None = None) -> Environment:
    """Return columns of a ``trials`` row; all workers call it, and each gets all devices."""
    workers = context.gather([_Worker(device_name(context.device), platform.node())])
    return {
        "world_size": context.world,
        "device": device_name(context.device),
        "devices": json.dumps([worker.device for worker in workers]),
        "threads": torch.get_num_threads(),
        "host": ", ".join(dict.fromkeys(worker.host for worker in workers)),
        "platform": platform.platform(),
        "packages": json.dumps(packages(context.device, library)),
    }


def _cpu_model() -> str:
    """Return the maker's name of the processor, or its architecture where the name is unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

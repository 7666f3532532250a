"""The memory of the nodes of the connected cluster."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import RayNode, alive_nodes
from orchestrator.planning.device_memory import NodeMemory, host_memory, memory_here

ANSWER_SECONDS = 60.0
"""Nodes whose memory is not known after this time are taken to have enough."""


def of_nodes() -> list[NodeMemory]:
    """Return the memory of each live node; those elsewhere are asked at the same time."""
    untyped: Any = ray
    here: str = untyped.util.get_node_ip_address()
    nodes = alive_nodes()
    calls = {node.id: _ask(node) for node in nodes if node.address != here}
    found: list[NodeMemory] = []
    for node in nodes:
        cpus, gpus = node.amount("CPU"), node.amount("GPU")
        if node.id not in calls:
            found.append(memory_here(cpus, gpus))
            continue
        host, gpu = None, None
        with contextlib.suppress(Exception):  # the sweep itself notices a node that is lost
            host, gpu = untyped.get(calls[node.id], timeout=ANSWER_SECONDS)
        found.append(NodeMemory(cpus, gpus, host, gpu))
    return found


def _ask(node: RayNode) -> Any:
    untyped: Any = ray
    on_node: Any = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return untyped.remote(num_cpus=0, scheduling_strategy=on_node)(memory).remote()


def memory() -> tuple[int, int | None]:
    """Return the bytes of RAM of this machine and of its largest GPU.

    A process that has reserved no GPU may not see any through torch.
    """
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    gpu = None
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        listed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        gpu = max((2**20 * int(line) for line in listed.stdout.split()), default=None)
    return host_memory(), gpu

"""Waits for the nodes of a cluster, which start minutes after its head."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from cluster import _ray
from cluster._kinds import WORKERS
from cluster._ray import RayNode

TIMEOUT_SECONDS = 900.0
"""The time in which a cloud machine boots and installs its packages."""
CHECK_SECONDS = 1.0


@contextmanager
def waited(timeout: float = TIMEOUT_SECONDS) -> Generator[None]:
    """Request and await the nodes that ``SEGPRINT_WORKERS`` states; release them after the block.

    After ``timeout`` seconds the block runs with the nodes that are there.

    Raises:
        ValueError: the variable is not NODESxCPUSxGPUS.
        ConnectionError: no node of the stated size started in time.
    """
    text = os.environ.get(WORKERS, "0x1x0")
    try:
        nodes, cpus, gpus = (int(number) for number in text.split("x"))
    except ValueError:
        raise ValueError(f"{WORKERS}={text!r} must be NODESxCPUSxGPUS, e.g. 2x8x1") from None
    if nodes == 0:
        yield
        return
    _ray.request_nodes(nodes, {"CPU": cpus, **({"GPU": gpus} if gpus else {})})
    try:
        _wait(nodes, {"CPU": cpus, "GPU": gpus}, timeout)
        yield
    finally:
        _ray.request_nodes(0, {})


def _wait(nodes: int, shape: dict[str, int], timeout: float) -> None:
    def fits(node: RayNode) -> bool:
        return all(node.amount(kind) >= count for kind, count in shape.items())

    deadline = time.monotonic() + timeout
    while (ready := sum(map(fits, _ray.alive_nodes()))) < nodes and time.monotonic() < deadline:
        time.sleep(CHECK_SECONDS)
    size = " and ".join(f"{count} {kind}" for kind, count in shape.items())
    if ready:
        _warn(ready, nodes, size, timeout)
        return
    sizes = sorted(
        ", ".join(f"{node.amount(kind):g} {kind}" for kind in shape) for node in _ray.alive_nodes()
    )
    raise ConnectionError(
        f"{WORKERS} states {nodes} nodes of {size} each, and none started in {timeout:.0f} s"
        f" (there are {len(sizes)}: {'; '.join(sizes)}). The sweep ends, because smaller nodes"
        " would train without GPUs or not at all: check the quota, the GPU driver and the image of"
        " the nodes (`ray status` on the head), or describe the cluster with gpus=0"
    )


def _warn(ready: int, nodes: int, size: str, timeout: float) -> None:
    if ready < nodes:
        print(
            f"segprint: {ready} of {nodes} nodes of {size} started in {timeout:.0f} s; the sweep"
            " continues with these (`ray status` on the head states the reason)",
            file=sys.stderr,
            flush=True,
        )

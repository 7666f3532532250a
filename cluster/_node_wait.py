"""Waits for the nodes of a cluster, which start minutes after its head."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster._kinds import WORKERS

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
    from ray.autoscaler.sdk import request_resources

    # This has no effect if Ray has no autoscaler.
    request_resources(bundles=[{"CPU": cpus, **({"GPU": gpus} if gpus else {})}] * nodes)
    try:
        _wait(nodes, {"CPU": cpus, "GPU": gpus}, timeout)
        yield
    finally:
        request_resources(bundles=[])


def _wait(nodes: int, shape: dict[str, int], timeout: float) -> None:
    import ray

    def fits(node: dict[str, Any]) -> bool:
        return node["Alive"] and all(node["Resources"].get(k, 0) >= v for k, v in shape.items())

    deadline = time.monotonic() + timeout
    while (ready := sum(map(fits, ray.nodes()))) < nodes and time.monotonic() < deadline:
        time.sleep(CHECK_SECONDS)
    size = " and ".join(f"{count} {kind}" for kind, count in shape.items())
    if ready:
        _warn(ready, nodes, size, timeout)
        return
    sizes = sorted(
        ", ".join(f"{node['Resources'].get(k, 0):g} {k}" for k in shape)
        for node in ray.nodes()
        if node["Alive"]
    )
    raise ConnectionError(
        f"{WORKERS} states {nodes} nodes of {size} each, and none started in {timeout:.0f} s"
        f" (there are {len(sizes)}: {'; '.join(sizes)}). The sweep ends, because it would train on"
        " CPUs only: check the quota, the GPU driver and the image of the nodes (`ray status` on"
        " the head), or describe the cluster with gpus=0"
    )


def _warn(ready: int, nodes: int, size: str, timeout: float) -> None:
    if ready < nodes:
        print(
            f"segprint: {ready} of {nodes} nodes of {size} started in {timeout:.0f} s; the sweep"
            " continues with these (`ray status` on the head states the reason)",
            file=sys.stderr,
            flush=True,
        )

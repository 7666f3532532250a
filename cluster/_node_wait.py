"""The nodes that a driver was promised, waited for: they start minutes after the head does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster import WORKERS

PATIENCE_SECONDS = 900.0
"""A cloud's machine boots and installs; then the driver goes on with what there is."""
LOOK_SECONDS = 1.0


@contextmanager
def gathered(patience: float = PATIENCE_SECONDS) -> Generator[None]:
    """Have as many nodes as ``SEGPRINT_WORKERS`` says; where Ray can start them, it may end them.

    Raises:
        ValueError: the variable is not NODESxCPUSxGPUS.
        ConnectionError: not one node came that is as large as they were said to be.
    """
    text = os.environ.get(WORKERS, "0x1x0")
    try:
        nodes, cpus, gpus = (int(word) for word in text.split("x"))
    except ValueError:
        raise ValueError(f"{WORKERS}={text!r} must be NODESxCPUSxGPUS, e.g. 2x8x1") from None
    if nodes == 0:
        yield
        return
    from ray.autoscaler.sdk import request_resources

    # Nobody hears this where Ray has no autoscaler.
    request_resources(bundles=[{"CPU": cpus, **({"GPU": gpus} if gpus else {})}] * nodes)
    try:
        _wait(nodes, {"CPU": cpus, "GPU": gpus}, patience)
        yield
    finally:
        request_resources(bundles=[])


def _wait(nodes: int, shape: dict[str, int], patience: float) -> None:
    import ray

    def fits(node: dict[str, Any]) -> bool:
        return node["Alive"] and all(node["Resources"].get(k, 0) >= v for k, v in shape.items())

    deadline = time.monotonic() + patience
    while (found := sum(map(fits, ray.nodes()))) < nodes and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    asked = " and ".join(f"{count} {kind}" for kind, count in shape.items())
    if found:
        _tell(found, nodes, asked, patience)
        return
    has = sorted(
        ", ".join(f"{node['Resources'].get(k, 0):g} {k}" for k in shape)
        for node in ray.nodes()
        if node["Alive"]
    )
    raise ConnectionError(
        f"the cluster was to have {nodes} nodes of {asked} each, and none came in {patience:.0f} s"
        f" (there are {len(has)}: {'; '.join(has)}). Without GPUs it would train on CPUs, so it"
        " ends here: see the quota, the GPU driver and image of the nodes (`ray status` on the"
        " head), or describe the cluster with gpus=0"
    )


def _tell(found: int, nodes: int, asked: str, patience: float) -> None:
    if found < nodes:
        print(
            f"segprint: {found} of {nodes} nodes of {asked} came in {patience:.0f} s; going on with"
            " these (`ray status` on the head says why)",
            file=sys.stderr,
            flush=True,
        )

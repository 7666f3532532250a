"""The checks of ``segprint doctor --on CLUSTER`` on the nodes of a cluster and between them.

Actors of Ray and collectives of torch have no types: they are ``Any`` within this module.
"""

from __future__ import annotations

import platform
import shutil
import socket
import statistics
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cluster import RayNode, alive_nodes
from orchestrator.diagnostics.preflight import (
    MAX_SKEW_SECONDS,
    SLOW_MILLISECONDS,
    CheckResult,
    Checks,
)
from orchestrator.storage.object_store import Store, StoreError

TIMEOUT_SECONDS = 120.0
"""The time in which every node must start a process and answer."""
GROUP_SECONDS = 30.0
"""The time in which the nodes must form a process group."""
MIN_FREE_GIB = 5.0
"""Free disk space for decoded images."""


@dataclass(frozen=True)
class NodeState:
    """The state of one node."""

    versions: Mapping[str, str]
    """Versions of Python, torch and Ray."""
    gpus: int
    """GPUs that torch can use."""
    free_gib: float
    """Free disk space for decoded images."""
    store: float | str
    """Milliseconds to write and read an object, or the error."""


class Node:
    """A process on one node, which becomes an actor of Ray."""

    def state(self, url: str) -> NodeState:
        """Return the state of the node; ``url`` is that of the store."""
        import torch

        from trainables.places import cache_dir

        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        return NodeState(
            versions=_versions_here(),
            gpus=torch.cuda.device_count(),
            free_gib=shutil.disk_usage(folder).free / 2**30,
            store=_store_milliseconds(url),
        )

    def clock(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time()

    def listen(self, address: str) -> int:
        """Open a port on the node's address, and on no other interface; return its number."""
        self._listener = socket.create_server((address, 0))
        return self._listener.getsockname()[1]

    def all_reduce(self, backend: str, rank: int, world: int, host: str, port: int) -> float:
        """Sum a number per node, as the workers of a trial do; return the seconds it took."""
        import torch
        import torch.distributed

        dist: Any = torch.distributed
        began = time.perf_counter()
        limit = timedelta(seconds=GROUP_SECONDS)
        listener = self._listener.detach() if rank == 0 else None
        store = dist.TCPStore(host, port, world, rank == 0, limit, master_listen_fd=listener)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
        try:
            ones = torch.ones(1, device="cuda" if backend == "nccl" else "cpu")
            dist.all_reduce(ones)
            if ones.item() != world:
                raise RuntimeError(f"the sum of {world} ones is {ones.item():g}")
            dist.barrier()
        finally:
            dist.destroy_process_group()
        return time.perf_counter() - began


def _versions_here() -> dict[str, str]:
    import ray
    import torch

    python = platform.python_version()
    return {"Python": python, "torch": torch.__version__, "Ray": ray.__version__}


def _store_milliseconds(url: str) -> float | str:
    key = f"checks/{uuid.uuid4().hex}"
    store, times = Store(url), list[float]()
    try:
        for _ in range(3):
            began = time.perf_counter()
            store.put(key, b"1")
            store.get(key)
            times.append(1000 * (time.perf_counter() - began))
        store.delete(key)
    except (StoreError, KeyError, ValueError, OSError) as error:
        return str(error)
    return statistics.median(times)


def _ray() -> Any:
    """Return Ray's module, whose functions are partly untyped."""
    import ray

    return ray


def nodes(url: str) -> Checks:
    """Check the nodes of the connected cluster; the findings name the nodes with problems."""
    alive = sorted(alive_nodes(), key=lambda node: node.address)
    # Nodes on one machine share its address, so each is named by a number as well.
    names = [f"{i} at {node.address}" for i, node in enumerate(alive)]
    actors = [_actor(node, gpus=0) for node in alive]
    try:
        states: list[NodeState] = _ray().get(
            [actor.state.remote(url) for actor in actors], timeout=TIMEOUT_SECONDS
        )
    except Exception as error:
        found = f"not all of {len(alive)} nodes answer: {_last_line(error)}"
        yield CheckResult("nodes", "failure", found)
        return
    addresses = ", ".join(node.address for node in alive)
    yield CheckResult("nodes", "ok", f"{len(alive)}: {addresses}")
    yield _versions(names, [state.versions for state in states])
    yield _gpus(names, [int(node.amount("GPU")) for node in alive], [s.gpus for s in states])
    yield _clocks(names, actors)
    yield _disks(names, [state.free_gib for state in states])
    yield _stores(names, [state.store for state in states])
    yield _all_reduce("gloo", alive, actors)
    with_gpus = [node for node in alive if node.amount("GPU")]
    if with_gpus:
        yield _all_reduce("nccl", with_gpus, [_actor(node, gpus=1) for node in with_gpus])


def _actor(node: RayNode, gpus: int) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    on_node: Any = NodeAffinitySchedulingStrategy(node.id, soft=False)
    options = _ray().remote(num_cpus=0, num_gpus=gpus, scheduling_strategy=on_node)
    return options(Node).remote()


def _warn_of(
    check: str, found: Mapping[str, str], wrong: Iterable[str], remedy: str
) -> CheckResult:
    """Return a warning that names the nodes with problems, else the findings of all nodes."""
    problems = [f"{name}: {found[name]}" for name in wrong]
    if problems:
        return CheckResult(check, "warning", f"{'; '.join(problems)}: {remedy}")
    return CheckResult(check, "ok", ", ".join(dict.fromkeys(found.values())))


def _versions(names: Sequence[str], versions: Sequence[Mapping[str, str]]) -> CheckResult:
    here = _listed(_versions_here())
    listed = dict(zip(names, map(_listed, versions), strict=True))
    others = [f"{name}: {text}" for name, text in listed.items() if text != here]
    if not others:
        return CheckResult("node versions", "ok", here)
    remedy = "all nodes need the same, see constraints.txt"
    found = f"the driver has {here}, {'; '.join(others)}: {remedy}"
    return CheckResult("node versions", "failure", found)


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _gpus(names: Sequence[str], of_ray: Sequence[int], of_torch: Sequence[int]) -> CheckResult:
    without = [
        f"{name}: Ray has {count}, torch none"
        for name, count, usable in zip(names, of_ray, of_torch, strict=True)
        if count and not usable
    ]
    if without:
        remedy = "check the GPU driver, and that torch is not a build for CPUs"
        return CheckResult("node gpus", "failure", f"{'; '.join(without)}: {remedy}")
    return CheckResult("node gpus", "ok", f"{sum(of_ray)} on {len(names)} nodes")


def _clocks(names: Sequence[str], actors: Sequence[Any]) -> CheckResult:
    skews: dict[str, float] = {}
    for name, actor in zip(names, actors, strict=True):
        before = time.time()
        theirs = float(_ray().get(actor.clock.remote()))
        skews[name] = theirs - (before + time.time()) / 2
    return _warn_of(
        "node clocks",
        {name: f"{skew:+.1f} s from the driver's" for name, skew in skews.items()},
        (name for name, skew in skews.items() if abs(skew) > MAX_SKEW_SECONDS),
        "set the clocks of these nodes (NTP), or leases of live trials seem to have expired",
    )


def _disks(names: Sequence[str], free_gib: Sequence[float]) -> CheckResult:
    free = dict(zip(names, free_gib, strict=True))
    return _warn_of(
        "node disks",
        {name: f"{gib:.0f} GiB" for name, gib in free.items()},
        (name for name, gib in free.items() if gib < MIN_FREE_GIB),
        "set SEGPRINT_CACHE to a directory on a larger disk",
    )


def _stores(names: Sequence[str], results: Sequence[float | str]) -> CheckResult:
    by_name = dict(zip(names, results, strict=True))
    errors = [f"{name}: {result}" for name, result in by_name.items() if isinstance(result, str)]
    if errors:
        remedy = "nodes need the store's credentials in their own environment, and a path to it"
        return CheckResult("node stores", "failure", f"{'; '.join(errors)}: {remedy}")
    times = {name: float(result) for name, result in by_name.items()}
    return _warn_of(
        "node stores",
        {name: f"{time:.0f} ms to write and read" for name, time in times.items()},
        (name for name, time in times.items() if time > 2 * SLOW_MILLISECONDS),
        "use nodes nearer to the store",
    )


def _all_reduce(backend: str, on: Sequence[RayNode], actors: Sequence[Any]) -> CheckResult:
    """Check an all-reduce of all nodes over their own addresses."""
    check, world, host = f"{backend} between nodes", len(actors), on[0].address
    try:
        port = int(_ray().get(actors[0].listen.remote(host), timeout=TIMEOUT_SECONDS))
        calls = [
            actor.all_reduce.remote(backend, rank, world, host, port)
            for rank, actor in enumerate(actors)
        ]
        times: list[float] = _ray().get(calls, timeout=TIMEOUT_SECONDS)
    except Exception as error:
        remedy = f"open all ports between the nodes, and set {backend.upper()}_SOCKET_IFNAME there"
        found = f"{world} nodes cannot connect: {_last_line(error)}; {remedy}"
        return CheckResult(check, "failure", found)
    return CheckResult(check, "ok", f"all-reduce of {world} nodes in {max(times):.1f} s")


def _last_line(error: Exception) -> str:
    """Return the last line of Ray's message, which states the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__

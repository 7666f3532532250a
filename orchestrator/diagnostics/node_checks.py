"""What ``segprint doctor --on CLUSTER`` measures on a cluster's nodes, and between them."""

from __future__ import annotations

import platform
import shutil
import socket
import statistics
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from orchestrator.diagnostics.preflight import MOST_SKEW_SECONDS, SLOW_MILLISECONDS, Check
from orchestrator.storage.object_store import Store, StoreError

PATIENCE_SECONDS = 120.0
"""For all nodes to start a process and answer."""
MEET_SECONDS = 30.0
LEAST_GIB = 5.0
"""Free where decoded images go."""


class Node:
    """A process on one node; made an actor by Ray."""

    def look(self, url: str) -> dict[str, Any]:
        """What is installed and there; how long the store takes from here, or why it cannot."""
        import ray
        import torch

        from trainables.decoding.cache import cache_dir

        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        versions = {"Python": platform.python_version(), "torch": torch.__version__}
        return {
            "versions": {**versions, "Ray": ray.__version__},
            "gpus": torch.cuda.device_count(),
            "free": shutil.disk_usage(folder).free / 2**30,
            "store": _store_milliseconds(url),
        }

    def clock(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def listen(self, address: str) -> int:
        """Open a port of this node's own address, of no other interface; its number."""
        self._door = socket.create_server((address, 0))
        return self._door.getsockname()[1]

    def meet(self, backend: str, rank: int, world: int, host: str, port: int) -> float:
        """Add up one number of each node, as workers of a trial do; seconds it took."""
        import torch
        import torch.distributed as dist

        began = time.perf_counter()
        limit = timedelta(seconds=MEET_SECONDS)
        door = self._door.detach() if rank == 0 else None
        make: Any = dist.TCPStore  # pyright: ignore[reportPrivateImportUsage]
        store = make(host, port, world, rank == 0, limit, master_listen_fd=door)
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


def _store_milliseconds(url: str) -> float | str:
    key = f"checks/{uuid.uuid4().hex}"
    store, took = Store(url), list[float]()
    try:
        for _ in range(3):
            began = time.perf_counter()
            store.put(key, b"1")
            store.get(key)
            took.append(1000 * (time.perf_counter() - began))
        store.delete(key)
    except (StoreError, KeyError, ValueError, OSError) as error:
        return str(error)
    return statistics.median(took)


def nodes(url: str) -> Check:
    """One line per check, over all nodes of the connected Ray; those that are wrong are named."""
    import ray

    alive = sorted((n for n in ray.nodes() if n["Alive"]), key=lambda n: n["NodeManagerAddress"])
    there = [str(node["NodeManagerAddress"]) for node in alive]
    # Nodes of one machine share its address: so each has its number too.
    names = [f"{i} at {address}" for i, address in enumerate(there)]
    actors = [_actor(node["NodeID"], 0) for node in alive]
    try:
        found: list[dict[str, Any]] = ray.get(
            [actor.look.remote(url) for actor in actors], timeout=PATIENCE_SECONDS
        )
    except Exception as error:
        yield "nodes", "failure", f"not every one of {len(alive)} answers: {_one_line(error)}"
        return
    yield "nodes", "ok", f"{len(alive)}: {', '.join(there)}"
    yield from _versions(names, [look["versions"] for look in found])
    yield from _gpus(names, alive, found)
    yield from _clocks(names, actors)
    yield from _each(
        "node disks",
        {n: f"{look['free']:.0f} GiB" for n, look in zip(names, found, strict=True)},
        (n for n, look in zip(names, found, strict=True) if look["free"] < LEAST_GIB),
        "give SEGPRINT_CACHE a larger disk",
    )
    yield from _stores(names, [look["store"] for look in found])
    yield from _met("gloo", actors, there)
    with_gpus = [i for i, node in enumerate(alive) if node["Resources"].get("GPU")]
    if with_gpus:
        sighted = [_actor(alive[i]["NodeID"], 1) for i in with_gpus]
        yield from _met("nccl", sighted, [there[i] for i in with_gpus])


def _actor(node: str, gpus: int) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    where: Any = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, num_gpus=gpus, scheduling_strategy=where)(Node).remote()


def _each(check: str, found: dict[str, str], wrong: Iterable[str], cure: str) -> Check:
    """One line: all nodes, or those that are wrong and the cure."""
    bad = list(wrong)
    if bad:
        yield check, "warning", f"{'; '.join(f'{n}: {found[n]}' for n in bad)}: {cure}"
    else:
        yield check, "ok", ", ".join(dict.fromkeys(found.values()))


def _versions(names: list[str], found: list[dict[str, str]]) -> Check:
    import ray
    import torch

    here = {"Python": platform.python_version(), "torch": torch.__version__, "Ray": ray.__version__}
    said = {
        n: ", ".join(f"{k} {v}" for k, v in of.items()) for n, of in zip(names, found, strict=True)
    }
    mine = ", ".join(f"{k} {v}" for k, v in here.items())
    other = [f"{name}: {text}" for name, text in said.items() if text != mine]
    if other:
        cure = "all nodes need the same, see constraints.txt"
        yield "node versions", "failure", f"the driver has {mine}, {'; '.join(other)}: {cure}"
    else:
        yield "node versions", "ok", mine


def _gpus(names: list[str], alive: list[dict[str, Any]], found: list[dict[str, Any]]) -> Check:
    promised = [int(node["Resources"].get("GPU", 0)) for node in alive]
    blind = [
        f"{name}: Ray has {has}, torch none"
        for name, has, look in zip(names, promised, found, strict=True)
        if has and not look["gpus"]
    ]
    if blind:
        cure = "see the GPU driver, and whether torch there is a build for CPUs"
        yield "node gpus", "failure", f"{'; '.join(blind)}: {cure}"
    else:
        yield "node gpus", "ok", f"{sum(promised)} on {len(names)} nodes"


def _clocks(names: list[str], actors: list[Any]) -> Check:
    import ray

    skews: dict[str, float] = {}
    for name, actor in zip(names, actors, strict=True):
        before = time.time()
        theirs: float = ray.get(actor.clock.remote())
        skews[name] = theirs - (before + time.time()) / 2
    yield from _each(
        "node clocks",
        {name: f"{skew:+.1f} s from the driver's" for name, skew in skews.items()},
        (name for name, skew in skews.items() if abs(skew) > MOST_SKEW_SECONDS),
        "set these nodes' clocks (NTP), or leases of live trials look dead",
    )


def _stores(names: list[str], took: list[float | str]) -> Check:
    lost = [f"{n}: {t}" for n, t in zip(names, took, strict=True) if isinstance(t, str)]
    if lost:
        cure = "nodes need the store's credentials and the way to it in their own environment"
        yield "node stores", "failure", f"{'; '.join(lost)}: {cure}"
        return
    times = {n: t for n, t in zip(names, took, strict=True) if not isinstance(t, str)}
    yield from _each(
        "node stores",
        {name: f"{t:.0f} ms to write and read" for name, t in times.items()},
        (name for name, t in times.items() if t > 2 * SLOW_MILLISECONDS),
        "have the nodes nearer to the store",
    )


def _met(backend: str, actors: list[Any], there: list[str]) -> Check:
    """All nodes in one all-reduce over their own addresses."""
    import ray

    check, world = f"{backend} between nodes", len(actors)
    cure = f"open all ports between the nodes, and set {backend.upper()}_SOCKET_IFNAME there"
    try:
        port: int = ray.get(actors[0].listen.remote(there[0]), timeout=PATIENCE_SECONDS)
        call: Callable[[int], Any] = lambda i: actors[i].meet.remote(  # noqa: E731
            backend, i, world, there[0], port
        )
        took: list[float] = ray.get([call(i) for i in range(world)], timeout=PATIENCE_SECONDS)
    except Exception as error:
        yield check, "failure", f"{world} nodes do not add up: {_one_line(error)}; {cure}"
    else:
        yield check, "ok", f"{world} nodes, one sum, {max(took):.1f} s"


def _one_line(error: Exception) -> str:
    """The last line of what Ray says, which is the error itself."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return said[-1][:300] if said else type(error).__name__

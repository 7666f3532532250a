"""The checks of ``segprint doctor`` on this machine; every problem is reported with its remedy."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement

from orchestrator.formatting import plural
from orchestrator.ledger import write_rate
from orchestrator.storage.object_store import Store, StoreError

ROUNDS = 5
SLOW_MILLISECONDS = 500.0
"""A request to the store that takes longer is slow; committing a trial takes about ten requests."""
MAX_SKEW_SECONDS = 30.0
"""The expiry of leases is judged by the store's clock and by this machine's."""
GLOO_SECONDS = 60.0
PORTS = {6379: "Ray's head", 8265: "Ray's dashboard", 10001: "Ray's client server"}
INSTALL = "pip install -c constraints.txt ."
ALL_REDUCE = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
where, rank = f"file://{sys.argv[1]}", int(sys.argv[2])  # tcp:// listens on every interface
dist.init_process_group("gloo", where, timedelta(seconds=30), world_size=2, rank=rank)
ones = torch.ones(1)
dist.all_reduce(ones)
assert ones.item() == 2
dist.destroy_process_group()
"""


class CheckResult(NamedTuple):
    """The result of one check."""

    check: str
    state: Literal["ok", "warning", "failure"]
    found: str
    """The finding, and the remedy of a problem."""


Checks = Iterator[CheckResult]


def packages() -> Checks:
    """Check that the installed packages meet this package's requirements."""
    try:
        requirements = [Requirement(text) for text in requires("segprint") or []]
    except PackageNotFoundError:
        yield CheckResult("packages", "warning", f"segprint is not installed: {INSTALL}")
        return
    unmet: list[str] = []
    own = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    for required in own:
        try:
            installed = version(required.name)
        except PackageNotFoundError:
            installed = "none"
        if installed == "none" or not required.specifier.contains(installed, prereleases=True):
            unmet.append(f"{required.name} {installed}, {required.specifier} is needed")
    if unmet:
        yield CheckResult("packages", "failure", f"{'; '.join(unmet)}: {INSTALL}")
    else:
        yield CheckResult("packages", "ok", f"{plural(len(own), 'requirement')} met")


def store_times(store: Store) -> Checks:
    """Check the duration of requests, the consistency of reads and the store's clock."""
    try:
        requests = _measured(store)
    except (StoreError, KeyError, ValueError) as error:
        yield CheckResult("store times", "failure", str(error))
        return
    is_slow = max(requests.write, requests.read) > SLOW_MILLISECONDS
    found = f"write {requests.write:.0f} ms, read {requests.read:.0f} ms"
    if is_slow:
        found += ": sweep from a machine nearer to the store"
    yield CheckResult("store times", "warning" if is_slow else "ok", found)
    if requests.stale:
        yield CheckResult(
            "read after write",
            "failure",
            f"{requests.stale} of {ROUNDS} reads did not return the value just written: use a"
            " strongly consistent store",
        )
    else:
        yield CheckResult("read after write", "ok", f"{ROUNDS} of {ROUNDS}")
    is_skewed = abs(requests.skew) > MAX_SKEW_SECONDS
    remedy = ""
    if is_skewed:
        remedy = ": set this machine's clock (NTP), or leases of live trials seem to have expired"
    found = f"{requests.skew:+.1f} s from the store's{remedy}"
    yield CheckResult("clock", "warning" if is_skewed else "ok", found)


def conditional_writes(store: Store) -> Checks:
    """Measure the writes that commits and compactions make, and remember their rate."""
    try:
        rate = write_rate.measure(store, socket.gethostname())
    except StoreError as error:
        yield CheckResult("conditional writes", "failure", str(error))
        return
    found = f"{rate.per_second:g} per second, one after another: `segprint plan` compares with it"
    yield CheckResult("conditional writes", "ok", found)


class _Requests(NamedTuple):
    """Measurements of a store."""

    write: float
    """Median milliseconds."""
    read: float
    stale: int
    """Reads that did not return the value just written."""
    skew: float
    """Seconds by which the store's clock is ahead of this machine's."""


def _measured(store: Store) -> _Requests:
    written: list[float] = []
    read: list[float] = []
    stale = 0
    key = f"checks/{uuid.uuid4().hex}"
    for i in range(ROUNDS):
        began = time.perf_counter()
        store.put(key, f"{i}".encode())
        written.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        stale += store.get(key) != f"{i}".encode()
        read.append(1000 * (time.perf_counter() - began))
    (entry,) = (e for e in store.entries("checks/") if e.key == key)
    skew = entry.modified.timestamp() - time.time()
    store.delete(key)
    return _Requests(statistics.median(written), statistics.median(read), stale, skew)


def gloo() -> Checks:
    """Check that two processes of this machine form a group, as the workers of a trial do."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        succeeded, output = _all_reduce(str(Path(folder) / "meet"))
    if succeeded:
        took = time.perf_counter() - began
        yield CheckResult("gloo", "ok", f"all-reduce of two processes in {took:.1f} s")
        return
    reason = output.strip().splitlines()[-1] if output.strip() else "no reason given"
    remedy = "set GLOO_SOCKET_IFNAME to the interface that reaches the other nodes"
    yield CheckResult("gloo", "failure", f"two processes cannot connect ({reason}); {remedy}")


def _all_reduce(file: str) -> tuple[bool, str]:
    """Return whether two processes that meet at a file succeeded, and their error output."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ALL_REDUCE, file, str(rank)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    output = ""
    try:
        output = "".join(process.communicate(timeout=GLOO_SECONDS)[1] for process in processes)
    except subprocess.TimeoutExpired:
        output = f"no answer in {GLOO_SECONDS:g} s"
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return not any(process.returncode for process in processes), output


def exposed() -> Checks:
    """Check whether other machines can reach a Ray on this machine without a token."""
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    except OSError:
        infos = []
    addresses = {str(info[4][0]) for info in infos}
    reachable = [
        f"{server} at {address}:{port}"
        for address in addresses
        if not address.startswith("127.")
        for port, server in PORTS.items()
        if _listens(address, port)
    ]
    if reachable and os.environ.get("RAY_AUTH_MODE") != "token":
        remedy = "have it listen on 127.0.0.1, or start it with RAY_AUTH_MODE=token"
        found = f"other machines can reach {', '.join(reachable)}: {remedy}"
        yield CheckResult("ports", "warning", found)
    else:
        none = "no Ray that other machines can reach"
        yield CheckResult("ports", "ok", ", ".join(reachable) or none)


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True

"""What ``segprint doctor`` measures before a sweep; each line says what cures it."""

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

from packaging.requirements import Requirement

from orchestrator.storage.object_store import Store, StoreError

Check = Iterator[tuple[str, str, str]]
"""Name of a check, ok, warning or failure, and what was found."""
ROUNDS = 5
SLOW_MILLISECONDS = 500.0
"""Of one request; a commit of a trial takes about ten."""
MOST_SKEW_SECONDS = 30.0
"""Leases are told to be over by the store's clock and this machine's."""
GLOO_SECONDS = 60.0
PORTS = {6379: "Ray's head", 8265: "Ray's dashboard", 10001: "Ray's client server"}
RING = """
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


def packages() -> Check:
    """Whether what is installed is what this package asks for."""
    wrong: list[str] = []
    try:
        asked = [Requirement(text) for text in requires("segprint") or []]
    except PackageNotFoundError:
        yield "packages", "warning", "segprint is not installed: pip install -c constraints.txt ."
        return
    for need in asked:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            found = "none"
        if found == "none" or not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {found}, {need.specifier} is needed")
    if wrong:
        cure = "pip install -c constraints.txt ."
        yield "packages", "failure", f"{'; '.join(wrong)}: {cure}"
    else:
        yield "packages", "ok", f"all {len(asked)} that are asked for"


def store_times(store: Store) -> Check:
    """How long requests take, whether a read sees what was just written, and the store's clock."""
    written: list[float] = []
    read: list[float] = []
    stale = 0
    key = f"checks/{uuid.uuid4().hex}"
    try:
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
    except (StoreError, KeyError, ValueError) as error:
        yield "store times", "failure", str(error)
        return
    ms = statistics.median(written), statistics.median(read)
    found = f"write {ms[0]:.0f} ms, read {ms[1]:.0f} ms"
    if max(ms) > SLOW_MILLISECONDS:
        found += ": sweep from a machine nearer to it"
    yield "store times", "warning" if max(ms) > SLOW_MILLISECONDS else "ok", found
    if stale:
        what = f"{stale} of {ROUNDS} reads did not see the write before: use a store that is strict"
        yield "read after write", "failure", what
    else:
        yield "read after write", "ok", f"{ROUNDS} of {ROUNDS}"
    bad = abs(skew) > MOST_SKEW_SECONDS
    cure = ": set this machine's clock (NTP), or leases of live trials look dead" if bad else ""
    yield "clock", "warning" if bad else "ok", f"{skew:+.1f} s from the store's{cure}"


def gloo() -> Check:
    """Whether two processes of this machine reach each other as workers of one trial do."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        well, said = _together(str(Path(folder) / "meet"))
    if not well:
        last = said.strip().splitlines()[-1] if said.strip() else "no reason given"
        cure = "set GLOO_SOCKET_IFNAME to the interface that reaches the other nodes"
        yield "gloo", "failure", f"two processes do not reach each other ({last}); {cure}"
    else:
        yield "gloo", "ok", f"two processes, one sum, {time.perf_counter() - began:.1f} s"


def _together(meet: str) -> tuple[bool, str]:
    """Whether two processes formed a group by that file, and what they said."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RING, meet, str(rank)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = ""
    try:
        said = "".join(process.communicate(timeout=GLOO_SECONDS)[1] for process in started)
    except subprocess.TimeoutExpired:
        said = f"no answer in {GLOO_SECONDS:g} s"
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return not any(process.returncode for process in started), said


def exposed() -> Check:
    """Ports of a Ray on this machine that other machines may reach."""
    try:
        own = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        own = set[str | int]()
    outside = [str(address) for address in own if not str(address).startswith("127.")]
    found = [
        f"{what} at {address}:{port}"
        for address in outside
        for port, what in PORTS.items()
        if _listens(address, port)
    ]
    if found and os.environ.get("RAY_AUTH_MODE") != "token":
        cure = "have it listen on 127.0.0.1, or start it with RAY_AUTH_MODE=token"
        yield "ports", "warning", f"others can reach {', '.join(found)}: {cure}"
    else:
        yield "ports", "ok", ", ".join(found) or "no Ray here that other machines reach"


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True

"""``segprint doctor``: check this machine, the store and a cluster before a sweep."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

import cluster
from cluster import Cluster, Remote, _jobs
from cluster.existing import Existing
from cluster.kuberay import Kuberay
from cluster.local import Local, usable_cpus
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, passed_on, say
from orchestrator.diagnostics import node_checks, preflight
from orchestrator.diagnostics.preflight import CheckResult, Checks
from orchestrator.ledger.ledger import Ledger
from orchestrator.remote.launcher import directory, launch
from orchestrator.remote.package import doctor_of, stage
from trainables.decoding.cache import cache_bytes
from trainables.part import require
from trainables.places import cache_dir, located


def main(options: Namespace) -> int:
    """Print one line per check with its state and remedy; return 1 if a check failed.

    Checks that a cluster runs later, as a job, are submitted; their results are in its output.
    """
    where = cluster.load(options.on)
    if isinstance(where, Existing) and not where.is_endpoint:
        where.expected()
        _set_environment(where)
    elif not isinstance(where, Local):
        return _on_cluster(where, options)
    ledger = ledger_of(options)
    checks: list[Callable[[], Checks]] = [
        _machine,
        preflight.packages,
        lambda: _store(ledger),
        _cache,
        preflight.gloo,
        preflight.exposed,
        _ray if isinstance(where, Local) else lambda: _nodes(where, ledger.store.url),
    ]
    rows = [result._asdict() for check in checks for result in check()]
    emit(rows, None, options.json)
    return 1 if any(row["state"] == "failure" for row in rows) else 0


def _set_environment(where: Cluster) -> None:
    """Set the variables of a cluster that are not set."""
    os.environ.update({k: v for k, v in where.environment().items() if k not in os.environ})


def _on_cluster(where: Cluster | Remote, options: Namespace) -> int:
    """Run the checks by a job on a cluster whose nodes cannot be reached from here."""
    require(
        not options.json, f"doctor --on {options.on} passes on what the cluster prints, no JSON"
    )
    job = doctor_of(where, options.on, options.store)
    if isinstance(where, Kuberay):
        where = replace(where, retries=0)  # a failed check is not the death of a driver
    if isinstance(where, Remote):
        with passed_on():
            code = launch(where, job, where.submit(job))
        later = where.logs(job) and where.logs(job)[-1] not in where.submit(job)
        if code == 0 and later:  # else the checks ran, and printed here
            logs = " && ".join(map(shlex.join, where.logs(job)))
            say(f"submitted; what the checks print: cd {directory(where, job)} && {logs}")
        return code
    assert isinstance(where, Existing)
    with tempfile.TemporaryDirectory(prefix="segprint-") as folder:
        stage(job, Path(folder))
        _jobs.submit(where.jobs(), job, Path(folder))
    with passed_on():
        return _jobs.logs(where.jobs(), job)


def _nodes(where: Cluster, url: str) -> Checks:
    """Check the nodes of a cluster that can be reached from here."""
    try:
        with where.connect() as resources:
            yield CheckResult("ray", "ok", f"reached, {resources.cpus} CPUs, {resources.gpus} GPUs")
            yield from node_checks.nodes(url)
    except ConnectionError as error:
        yield CheckResult("ray", "failure", str(error))


def _machine() -> Checks:
    """List versions and devices."""
    yield CheckResult("python", "ok", platform.python_version())
    for name in ("torch", "ray", "optuna", "pyarrow", "duckdb"):
        yield CheckResult(name, "ok", version(name))
    yield CheckResult("cpus", "ok", f"{usable_cpus()} usable of {os.cpu_count()}")
    gpus = torch.cuda.device_count()
    yield CheckResult(
        "gpus", "ok", ", ".join(map(torch.cuda.get_device_name, range(gpus))) or "none: CPU only"
    )


def _store(ledger: Ledger) -> Checks:
    """Check that the store can be written to and read, and how it handles races."""
    began = time.perf_counter()
    try:
        exclusive = ledger.store.check()
    except OSError as error:
        yield CheckResult("store", "failure", str(error))
        return
    milliseconds = 1000 * (time.perf_counter() - began)
    found = f"{ledger.store.url}: write, read, list, delete in {milliseconds:.0f} ms"
    if exclusive:
        yield CheckResult("store", "ok", f"{found}; one of several racing writers wins")
    else:
        risk = "several racing writers win and the last is kept: run one driver per study"
        yield CheckResult("store", "warning", f"{found}; {risk}")
    yield from preflight.store_times(ledger.store)
    yield from preflight.conditional_writes(ledger.store)


def _cache() -> Checks:
    """Check the directories of the cache and of the data sets."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield CheckResult(
            "cache", "failure", f"{error}; set SEGPRINT_CACHE to a writable directory"
        )
        return
    free = shutil.disk_usage(folder).free / 2**30
    try:
        limit, place = cache_bytes() / 2**30, located("").rstrip("/")
    except ValueError as error:
        yield CheckResult("data", "failure", str(error))
        return
    found = f"{folder}, {free:.0f} GiB free, decoded images take at most {limit:g} GiB"
    hint = "" if free > 1 else "; set SEGPRINT_CACHE to a directory on a larger disk"
    yield CheckResult("cache", "ok" if free > 1 else "warning", f"{found}{hint}")
    exists = "://" in place or Path(place).is_dir()
    hint = "" if exists else ": no such directory; set SEGPRINT_DATA to that of your data sets"
    yield CheckResult("data", "ok" if exists else "warning", f"{place}{hint}")


def _ray() -> Checks:
    """Start and stop a local Ray."""
    where = Local()
    _set_environment(where)
    try:
        where.expected()
        with where.connect() as resources:
            yield CheckResult(
                "ray", "ok", f"started and stopped, {resources.cpus} CPUs, {resources.gpus} GPUs"
            )
    except ConnectionError as error:
        yield CheckResult("ray", "failure", str(error))

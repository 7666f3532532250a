"""The local machine: a Ray that is bound to loopback and ends with the sweep."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import _head, _ray
from cluster._kinds import Cluster, Resources


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths refer to the driver's directory
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would rewrite the state of all trials every few seconds, and nothing reads it.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the sweep handles SIGINT
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",  # trials that are still running are killed after it
}
LOOPBACK = {
    # In spite of its name, this makes Ray use 127.0.0.1 as the node's address, so that all of its
    # servers bind to loopback. Passing an address to ray.init does not achieve this.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
}
LONGEST_SOCKET = "/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The path of Ray's socket below its temporary directory, with the largest process id of Linux."""
MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
LOST_SECONDS = 3.0
"""A head on this machine that does not listen for this long has died, and nothing restarts it."""


def _own_address() -> dict[str, str]:
    """Return variables with which Ray's processes find their own Ray among several on this machine.

    Without them Ray Train would query the latest Ray for the state of its run, and conclude that
    the run is dead.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"}


def _check_directories() -> None:
    """Check that Ray can create its sockets and the folder ``~/.ray``.

    Raises:
        ConnectionError: it cannot; names the variable of the directory.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    place = os.environ.get(name, "/tmp")  # noqa: S108
    size = len(f"{place}{LONGEST_SOCKET}".encode())
    if size > MAX_SOCKET_BYTES:
        raise ConnectionError(
            f"{name}={place}: the paths of Ray's sockets would have {size} bytes, at most"
            f" {MAX_SOCKET_BYTES} are possible; set RAY_TMPDIR to a shorter path, e.g. /tmp"
        )
    folder = Path.home() / ".ray"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConnectionError(
            f"HOME={Path.home()}: Ray cannot create {folder} ({error.strerror}); set HOME to a"
            " directory that can be written"
        ) from error


@dataclass(frozen=True)
class Local(Cluster):
    """Ray on this machine; ``cpus=None`` uses all CPUs that the process may use."""

    cpus: int | None = None

    def environment(self) -> dict[str, str]:
        return QUIET | LOOPBACK

    def expected(self) -> Resources | None:
        _check_directories()
        return Resources(self.cpus or usable_cpus(), 0)

    @contextmanager
    def connect(self) -> Generator[Resources]:
        ray = _ray.ray()  # imported before its address is set
        address = _own_address()
        # Ray's dashboard imports libraries that warn; it would not start with PYTHONWARNINGS=error.
        before = {k: os.environ.pop(k, None) for k in (*address, "PYTHONWARNINGS")}
        os.environ.update(address)
        try:
            with _ray.processes_in_groups_of_their_own(), _ray.own_sigterm_handler():
                ray.init(
                    # "local" starts a new Ray, even if a file names a running cluster.
                    address="local",
                    num_cpus=self.cpus or usable_cpus(),
                    # Ray's cleaner of leaked placement groups needs the dashboard's State API.
                    include_dashboard=True,
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            _ray.make_session_private()
            _ray.shorten_messages()
        except Exception as error:
            raise ConnectionError(f"Ray did not start on this machine: {error}") from error
        finally:
            for name, value in before.items():  # the processes of Ray keep their copies
                os.environ.pop(name, None)
                os.environ.update({name: value} if value is not None else {})
        try:
            offered = _ray.total_resources()
            with _head.watched(_ray.head_address(), LOST_SECONDS, _ray.dead_processes):
                yield Resources(int(offered.get("CPU", 0)), int(offered.get("GPU", 0)))
        finally:
            ray.shutdown()

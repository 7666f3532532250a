"""The machine at hand: a Ray of our own, bound to loopback, ended with the sweep."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from cluster import Cluster, Resources, _head


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative places of data and caches mean the driver's directory
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would write the state of all trials anew every few seconds; nothing reads it here.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the sweep has its own
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",  # what keeps no checkpoint by then is killed
}
LOOPBACK = {
    # Named for other systems, this makes Ray take 127.0.0.1 for the node's address, and with it
    # every one of its servers binds to loopback; an address given to ray.init does not.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
}


def _address_of_its_own() -> dict[str, str]:
    """Variables by which whatever Ray starts knows its own Ray from others on this machine.

    Ray Train asks for the state of its run; it would ask the latest Ray, and take the run for dead.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"}


@dataclass(frozen=True)
class Local(Cluster):
    """``cpus=None`` takes all that the process may use."""

    cpus: int | None = None

    def environment(self) -> dict[str, str]:
        return QUIET | LOOPBACK

    def expected(self) -> Resources | None:
        return Resources(self.cpus or usable_cpus(), 0)

    @contextmanager
    def connect(self) -> Generator[Resources]:
        import ray

        own = _address_of_its_own()
        before = {k: os.environ.pop(k, None) for k in own}
        os.environ.update(own)
        try:
            ray.init(
                # "local" starts a fresh one: a stray cluster file cannot capture the sweep.
                address="local",
                num_cpus=self.cpus or usable_cpus(),
                # Ray's cleaner of leaked placement groups asks the dashboard's State API.
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            raise ConnectionError(f"Ray did not start on this machine: {error}") from error
        finally:
            for name, value in before.items():  # what Ray has started keeps its own
                os.environ.pop(name)
                os.environ.update({name: value} if value is not None else {})
        try:
            offered = ray.cluster_resources()
            with _head.watched(ray.get_runtime_context().gcs_address):
                yield Resources(int(offered.get("CPU", 0)), int(offered.get("GPU", 0)))
        finally:
            ray.shutdown()

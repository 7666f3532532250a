"""A Ray cluster that runs already, at the address in ``RAY_ADDRESS``; it is left as it was.

HOST:PORT of its head is for a driver in this process, http://HOST:8265 of its dashboard for one
that ``segprint submit`` has it run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster, Resources, _head, _head_probe, _node_wait, _orphans
from cluster.local import LOOPBACK, QUIET

PLACES = ("SEGPRINT_DATA", "SEGPRINT_CACHE")
"""Directories that the processes of this job need to find as the driver does."""


@dataclass(frozen=True)
class Existing(Cluster):
    """Its nodes need this package, and the store's credentials in their own environment."""

    address: str = ""
    """Default: what ``RAY_ADDRESS`` says."""
    store: str = ""
    """Where results go (default: what ``--store`` says)."""

    def environment(self) -> dict[str, str]:
        here = self._address().startswith(("127.", "localhost"))
        return {**QUIET, **(LOOPBACK if here else {}), "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1"}

    def expected(self) -> Resources | None:
        self._address()
        return None

    @property
    def is_endpoint(self) -> bool:
        """Whether what is known is the address of its dashboard, not of its head."""
        return "://" in (self.address or os.environ.get("RAY_ADDRESS", ""))

    def jobs(self) -> str:
        """The endpoint of its Ray Jobs.

        Raises:
            ValueError: what is known is no such endpoint.
        """
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        if not address.startswith(("http://", "https://")):
            raise ValueError(
                f"cluster existing: RAY_ADDRESS={address!r} must be the Ray Jobs endpoint of its"
                " dashboard to submit there, e.g. http://127.0.0.1:8265"
            )
        return address

    def _address(self) -> str:
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        if not address:
            raise ValueError("cluster existing: RAY_ADDRESS must be HOST:PORT of its head")
        if "://" in address:
            raise ValueError(
                f"cluster existing: RAY_ADDRESS={address} must be HOST:PORT of its head to sweep"
                " from here; segprint submit takes the address of its Ray Jobs"
            )
        return address

    @contextmanager
    def connect(self) -> Generator[Resources]:
        import ray

        places = {k: str(Path(os.environ[k]).absolute()) for k in PLACES if k in os.environ}
        # Ray Train asks for the state of its run; where a machine has several Rays, it would ask
        # the latest, and take the run for dead.
        places["RAY_ADDRESS"] = self._address()
        _head_probe.reach(self._address())
        try:
            ray.init(
                address=self._address(),
                runtime_env={"env_vars": self.environment() | places},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            said = " ".join(str(error).split())
            raise ConnectionError(f"no Ray at RAY_ADDRESS={self._address()}: {said}") from error
        try:
            _orphans.remove()
            with _head.watched(ray.get_runtime_context().gcs_address), _node_wait.gathered():
                offered = ray.cluster_resources()
                alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
                nodes = tuple((has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive)
                yield Resources(int(offered.get("CPU", 0)), int(offered.get("GPU", 0)), nodes)
        finally:
            _orphans.remove(ray.get_runtime_context().get_job_id())
            ray.shutdown()

"""A Ray cluster that already runs, at the address in ``RAY_ADDRESS``; it keeps running.

The address is HOST:PORT of the head for a driver in this process, and http://HOST:8265 of the
dashboard for ``segprint submit``, which starts the driver on the cluster.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import _head, _head_probe, _node_wait, _orphans, _ray
from cluster._kinds import Cluster, Resources
from cluster.local import LOOPBACK, QUIET

DIRECTORIES = ("SEGPRINT_DATA", "SEGPRINT_CACHE")
"""Variables that hold directories; the processes of a job get the driver's values."""


@dataclass(frozen=True)
class Existing(Cluster):
    """A running Ray cluster, whose nodes need this package and the credentials of the store."""

    address: str = ""
    """The address (default: the value of ``RAY_ADDRESS``)."""
    store: str = ""
    """The store of the results (default: the value of ``--store``)."""

    def environment(self) -> dict[str, str]:
        is_local = self._address().startswith(("127.", "localhost"))
        return {
            **QUIET,
            **(LOOPBACK if is_local else {}),
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1",
        }

    def expected(self) -> Resources | None:
        self._address()
        return None

    @property
    def is_endpoint(self) -> bool:
        """Whether the address is that of the dashboard, not of the head."""
        return "://" in (self.address or os.environ.get("RAY_ADDRESS", ""))

    def jobs(self) -> str:
        """Return the endpoint of its Ray Jobs.

        Raises:
            ValueError: the address is no such endpoint.
        """
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        if not address.startswith(("http://", "https://")):
            raise ValueError(
                f"cluster existing: RAY_ADDRESS={address!r} must be the Ray Jobs endpoint of the"
                " dashboard, e.g. http://127.0.0.1:8265, to submit a study"
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
        variables = {k: str(Path(os.environ[k]).absolute()) for k in DIRECTORIES if k in os.environ}
        # Ray Train queries the state of its run. With several Rays on a machine it would query the
        # latest, and conclude that the run is dead.
        variables["RAY_ADDRESS"] = self._address()
        _head_probe.probe(self._address())
        try:
            with _ray.own_sigterm_handler():
                _ray.ray().init(
                    address=self._address(),
                    runtime_env={"env_vars": self.environment() | variables},
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ConnectionError(f"no Ray at RAY_ADDRESS={self._address()}: {reason}") from error
        try:
            _ray.shorten_messages()
            _orphans.remove()
            with _head.watched(_ray.head_address()), _node_wait.waited():
                offered = _ray.total_resources()
                nodes = tuple((n.amount("CPU"), n.amount("GPU")) for n in _ray.alive_nodes())
                yield Resources(int(offered.get("CPU", 0)), int(offered.get("GPU", 0)), nodes)
        finally:
            _orphans.remove(_ray.job_id())
            _ray.ray().shutdown()

"""A Ray cluster that already runs, at the address in ``RAY_ADDRESS``; it keeps running.

The address is HOST:PORT of the head or http://HOST:8265 of its dashboard. A driver in this process
needs the head, and ``segprint submit``, which starts the driver on the cluster, the dashboard; each
is found from the other one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import _addresses, _head, _head_probe, _node_wait, _orphans, _ray
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
        address = self._given()
        host = address.rpartition("://")[2]
        return {
            **QUIET,
            **(LOOPBACK if host.startswith(("127.", "localhost")) else {}),
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1",
        }

    def expected(self) -> Resources | None:
        self._given()
        return None

    @property
    def is_endpoint(self) -> bool:
        """Whether the given address is that of the dashboard, not of the head."""
        return _addresses.is_endpoint(self._given())

    def jobs(self) -> str:
        """Return the endpoint of its Ray Jobs, the address of its dashboard.

        Raises:
            ValueError: there is no address, or one of another form.
            ConnectionError: the head does not answer, or has no dashboard.
        """
        return self._given() if self.is_endpoint else _addresses.dashboard_of(self._given())

    def _given(self) -> str:
        """Return the address as the user gave it."""
        return _addresses.check_form(self.address or os.environ.get("RAY_ADDRESS", ""))

    def _head(self) -> str:
        """Return HOST:PORT of the head."""
        return _addresses.head_of(self._given()) if self.is_endpoint else self._given()

    @contextmanager
    def connect(self) -> Generator[Resources]:
        head = self._head()
        variables = {k: _everywhere(os.environ[k]) for k in DIRECTORIES if k in os.environ}
        # Ray Train queries the state of its run. With several Rays on a machine it would query the
        # latest, and conclude that the run is dead.
        variables["RAY_ADDRESS"] = head
        _head_probe.probe(head)
        try:
            with _ray.own_sigterm_handler():
                _ray.ray().init(
                    address=head,
                    runtime_env={"env_vars": self.environment() | variables},
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ConnectionError(f"no Ray at RAY_ADDRESS={head}: {reason}") from error
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


def _everywhere(place: str) -> str:
    """Return a directory or URL as workers, which start in other directories, find it."""
    return place if "://" in place else str(Path(place).expanduser().absolute())

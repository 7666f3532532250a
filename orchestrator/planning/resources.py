"""The resources of one trial, and the number of trials that fit into a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces import Space

Workers = int | tuple[int, int]
"""The number of workers of a trial, or its minimum and maximum where nodes come and go."""


def fewest(workers: Workers) -> int:
    """Return the minimum number of workers.

    >>> fewest(2), fewest((1, 4))
    (2, 1)
    """
    return workers if isinstance(workers, int) else workers[0]


def most(workers: Workers) -> int:
    """Return the maximum number of workers."""
    return workers if isinstance(workers, int) else workers[1]


@dataclass(frozen=True)
class ResourceRequest:
    """The resources of one trial; ``cpus`` and ``gpus`` are per worker and may be fractions."""

    workers: Workers = 1
    cpus: float = 1.0
    gpus: float = 0.0

    @staticmethod
    def of(space: Space, workers: Workers, gpus: float) -> ResourceRequest:
        """Return the request of a space's trials; without GPUs if the cluster has none."""
        return ResourceRequest(workers, space.cpus, space.gpus if gpus else 0.0)

    def slots(self, offered: Mapping[str, float]) -> int:
        """Return how many trials fit at once into Ray's resources ``CPU`` and ``GPU``.

        >>> ResourceRequest(workers=2).slots({"CPU": 5.0})
        2
        >>> ResourceRequest(gpus=0.25).slots({"CPU": 8.0, "GPU": 1.0})
        4
        """
        needed = {"CPU": self.cpus, "GPU": self.gpus}
        shares = [offered.get(k, 0.0) / each + 1e-9 for k, each in needed.items() if each]
        return int(min(shares)) // fewest(self.workers)

    def __str__(self) -> str:
        """Return the request as text for messages.

        >>> print(ResourceRequest(workers=2))
        2 x 1 CPU
        >>> print(ResourceRequest((1, 2), cpus=0.5, gpus=0.25))
        1 to 2 x 0.5 CPU and 0.25 GPU
        """
        count = self.workers if isinstance(self.workers, int) else "{} to {}".format(*self.workers)
        gpu = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{count} x {self.cpus:g} CPU{gpu}"

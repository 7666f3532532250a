"""What one trial asks of a cluster, and how many such trials it has room for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces import Space

Workers = int | tuple[int, int]
"""How many workers share a trial: a number, or the fewest and the most, as nodes come and go."""


def fewest(workers: Workers) -> int:
    """How many workers a trial cannot do without.

    >>> fewest(2), fewest((1, 4))
    (2, 1)
    """
    return workers if isinstance(workers, int) else workers[0]


def most(workers: Workers) -> int:
    """How many workers a trial has at most."""
    return workers if isinstance(workers, int) else workers[1]


@dataclass(frozen=True)
class ResourceRequest:
    """Of one trial; ``cpus`` and ``gpus`` of each of its workers, and either may be a fraction."""

    workers: Workers = 1
    cpus: float = 1.0
    gpus: float = 0.0

    @staticmethod
    def of(space: Space, workers: Workers, gpus: float) -> ResourceRequest:
        """What a space's trials ask; GPUs only where the cluster has any."""
        return ResourceRequest(workers, space.cpus, space.gpus if gpus else 0.0)

    def slots(self, offered: Mapping[str, float]) -> int:
        """How many trials fit beside each other into what Ray calls ``CPU`` and ``GPU``.

        >>> ResourceRequest(workers=2).slots({"CPU": 5.0})
        2
        >>> ResourceRequest(gpus=0.25).slots({"CPU": 8.0, "GPU": 1.0})
        4
        """
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        shares = [offered.get(k, 0.0) / each + 1e-9 for k, each in asked.items() if each]
        return int(min(shares)) // fewest(self.workers)

    def __str__(self) -> str:
        """As a person says it.

        >>> print(ResourceRequest(workers=2))
        2 x 1 CPU
        >>> print(ResourceRequest((1, 2), cpus=0.5, gpus=0.25))
        1 to 2 x 0.5 CPU and 0.25 GPU
        """
        count = self.workers if isinstance(self.workers, int) else "{} to {}".format(*self.workers)
        gpu = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{count} x {self.cpus:g} CPU{gpu}"

"""The resources of one trial, and the number of trials that fit into a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.planning.cells import Cell
from search_spaces import Space
from search_spaces._workers import Workers, fewest
from trainables.config import Config


def shared(config: Config) -> bool:
    """Whether several workers can share the training of a config: it makes gradient steps here."""
    return config.train.steps > 0 and config.model.learns and not config.model.trains_itself


def workers_of(space: Space, cell: Cell, stage: str) -> Workers:
    """Return the number of workers of a cell's trials in a stage, ``search`` or ``final``."""
    workers = space.workers_of(cell.arm, stage)
    if workers == 1:
        return 1
    overrides: Mapping[str, Any] = {}
    if space.search is not None and stage == "search":
        overrides = space.search.overrides
    return workers if shared(cell.config(cell.example, overrides, 0)) else 1


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

    def worker_slots(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """Return how many workers fit at once; each must fit on one node."""
        one_worker = replace(self, workers=1)
        return sum(map(one_worker.slots, nodes))

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

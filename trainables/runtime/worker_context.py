"""Where one worker of a run stands: its rank among the workers, and its device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class WorkerContext:
    """One worker alone by default; with ``world > 1`` torch.distributed is already initialised."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    split: int = 1
    """How many times more parts than ``train.accumulate`` a share of a batch is passed in: what
    ran out of memory is tried again so, and means the same. What normalises over a batch is never
    split."""
    beat: Callable[[], None] = lambda: None
    """Called at every step and every pass: a sign of life for whoever watches the run."""

    def total(self, x: Tensor) -> Tensor:
        """The sum over workers."""
        if self.world > 1:
            x = x.clone()
            dist.all_reduce(x)
        return x

    def gather(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All workers' rows, in order of rank."""
        if self.world == 1:
            return rows
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, rows)
        return [row for part in cast("list[list[dict[str, Any]]]", parts) for row in part]

    def broadcast(self, value: bytes | None) -> bytes | None:
        """Rank 0's value, everywhere."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def best_device(gpus: float = 1.0) -> str:
    """``cuda`` where there is one and it was asked for, else ``cpu``.

    Who asked for none gets none, whatever the machine has: another trial may fill it.
    """
    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"

"""The rank and device of one worker of a run, and its collective operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

from trainables.runtime.tensor_trees import map_tensors

T = TypeVar("T")


@dataclass(frozen=True)
class WorkerContext:
    """One worker of a run, by default the only one.

    With ``world > 1`` torch.distributed is initialised already.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    microbatch_factor: int = 1
    """Multiplies the number ``train.accumulate`` of microbatches. A run that exhausted the memory
    is retried with a larger factor, which does not change its numbers; a network that normalises
    over the batch always has factor 1."""
    gpu_share: float = 1.0
    """The share of its GPU that the worker reserved; other trials may need the rest."""
    beat: Callable[[], None] = lambda: None
    """Called at every step and every pass, to report that the run makes progress."""

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """Return the sum over workers."""
        if self.world > 1:
            x = x.clone()
            dist.all_reduce(x)  # pyright: ignore[reportUnknownMemberType]
        return x

    def gather(self, rows: list[T]) -> list[T]:
        """Return the rows of all workers, in the order of their rank."""
        if self.world == 1:
            return rows
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, rows)  # pyright: ignore[reportUnknownMemberType]
        return [row for part in cast("list[list[T]]", parts) for row in part]

    def broadcast(self, value: bytes | None) -> bytes | None:
        """Return the value of rank 0 on every worker."""
        if self.world == 1:
            return value
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def broadcast_tensors(self, tree: Any) -> Any:
        """Return the nested dicts and lists of rank 0 on every worker, tensor by tensor.

        Their tensors are dense and on the CPU; they keep their memory layout, which a fused
        optimiser takes for that of its parameters.
        """
        skeleton = map_tensors(tree, lambda x: torch.empty_like(x, device="meta"))
        values: list[Any] = [skeleton]
        dist.broadcast_object_list(values, src=0)

        def send(x: Tensor) -> Tensor:
            memory = x.as_strided((x.numel(),), (1,))
            dist.broadcast(memory, src=0)  # pyright: ignore[reportUnknownMemberType]
            return x

        return map_tensors(
            tree if self.rank == 0 else values[0],
            lambda x: send(x if self.rank == 0 else torch.empty_like(x, device="cpu")),
        )


def best_device(gpus: float = 1.0) -> str:
    """Return ``cuda`` where a GPU exists and the trial reserved one, else ``cpu``.

    A trial without a reservation never uses a GPU of the machine: another trial may need all of it.
    """
    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"

"""Batches that a thread prepares while the device works on earlier steps."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from trainables.batches import Prepared, draw, prepared
from trainables.modes import Batch
from trainables.run import Run

AHEAD = 2
"""Batches that are prepared ahead of the step that runs on a GPU."""


class BatchQueue:
    """The batches of a run on its device, in the order of their steps.

    For a GPU they are prepared ahead in pinned memory and copied without waiting for the device,
    which augments the crops. The training itself keeps a CPU busy, so there each batch is prepared
    when it is taken. A batch depends on the seed and the step only, so its draws are the same on
    both, and its pixels to rounding.
    """

    def __init__(self, run: Run, ahead: int | None = None) -> None:
        on_gpu = run.context.device != "cpu"
        self._run, self._on_gpu = run, on_gpu
        self._ahead = (AHEAD if on_gpu else 0) if ahead is None else ahead
        self._pool = ThreadPoolExecutor(1, "batches") if self._ahead else None
        self._futures: dict[int, Future[Batch | Prepared]] = {}

    def take(self, step: int) -> Batch:
        """Return the batch of a step, on the device; an error while it was prepared is raised."""
        if self._pool is None:
            batch = self._prepare(step)
        else:
            last = min(step + self._ahead, self._run.config.train.steps - 1)
            for later in range(step, last + 1):
                if later not in self._futures:
                    self._futures[later] = self._pool.submit(self._prepare, later)
            batch = self._futures.pop(step).result()
        return batch.to(self._run.context.device)

    def close(self) -> None:
        """Drop the batches that were prepared ahead and end the thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _prepare(self, step: int) -> Batch | Prepared:
        if self._on_gpu:
            return prepared(self._run, step).pinned()
        return draw(self._run, step)

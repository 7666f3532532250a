"""The number of images that share a pass: as many as fit, halved if they exhaust the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from trainables.runtime.memory import DeviceUse, is_out_of_memory, measured, release_memory
from trainables.runtime.worker_context import WorkerContext

T = TypeVar("T")

FREE_SHARE = 0.5
"""The share of the free memory that a pass may take."""
GROWTH = 16
"""A pass takes at most so many times the number that it begins with: fewer keep a GPU busy, and the
host holds the results."""


def grown(count: int, most: int, images: int, use: DeviceUse) -> int:
    """Return how many of ``most`` images may share a pass, where so many ``images`` used so much.

    It is at least ``count``, also where the device reports nothing.

    >>> grown(4, 1000, images=4, use=DeviceUse(used=400, free=10_000))
    50
    >>> grown(4, 1000, images=4, use=DeviceUse(used=0, free=10_000))
    4
    """
    if use.used <= 0 or use.free <= 0:
        return count
    fitting = int(FREE_SHARE * use.free * images / use.used)
    return max(count, min(fitting, most, GROWTH * count))


class PassSize:
    """At most so many images share a pass.

    On a GPU the number grows once, after the first pass, to what fits; what exhausts the memory is
    split from then on.
    """

    def __init__(self, count: int, most: int, context: WorkerContext | None = None) -> None:
        """Begin with ``count`` images of ``most`` in a pass."""
        self.count, self._most = count, most
        self._context = context or WorkerContext()
        self._grows = self._context.device != "cpu"

    def passes(self, images: int, predict: Callable[[slice], T]) -> Iterator[T]:
        """Yield the result of ``predict`` for consecutive parts of so many images.

        Raises:
            RuntimeError: one image alone exhausts the memory.
        """
        first = 0
        while first < images:
            part = slice(first, min(images, first + self.count))
            result = self._attempt(part, predict)
            if result is None:  # outside of the handler, whose traceback keeps tensors
                self.count = (part.stop - part.start + 1) // 2
                self._grows = False
                release_memory()
                continue
            yield result
            first = part.stop

    def _attempt(self, part: slice, predict: Callable[[slice], T]) -> T | None:
        try:
            return self._measured(part, predict) if self._grows else predict(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or part.stop - part.start == 1:
                raise
            return None

    def _measured(self, part: slice, predict: Callable[[slice], T]) -> T:
        device, share = self._context.device, self._context.gpu_share
        result, use = measured(device, share, lambda: predict(part))
        self.count = grown(self.count, self._most, part.stop - part.start, use)
        self._grows = False
        return result

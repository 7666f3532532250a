"""The number of images that share a pass of the network, halved when they exhaust the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from trainables.runtime.memory import is_out_of_memory, release_memory

T = TypeVar("T")


class PassSize:
    """At most so many images share a pass; what exhausts the memory is split from then on."""

    def __init__(self, count: int) -> None:
        self.count = count

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
                release_memory()
                continue
            yield result
            first = part.stop

    @staticmethod
    def _attempt(part: slice, predict: Callable[[slice], T]) -> T | None:
        try:
            return predict(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or part.stop - part.start == 1:
                raise
            return None

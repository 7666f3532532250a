"""A cache of the last two loaded values, for large files that are read in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Latest(Generic[K, V]):
    """Loads a key's value and keeps the last two; shared by threads.

    Threads that read ahead need the end of one file and the beginning of the next in turns. An
    error is kept like a value, and raised again.
    """

    def __init__(self, load: Callable[[K], V]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._held: dict[K, V | ValueError] = {}

    def __call__(self, key: K) -> V:
        with self._lock:
            if key not in self._held:
                while len(self._held) > 1:
                    del self._held[next(iter(self._held))]
                try:
                    self._held[key] = self._load(key)
                except ValueError as error:
                    self._held[key] = error
            found = self._held[key]
        if isinstance(found, ValueError):
            raise ValueError(str(found)) from found
        return found

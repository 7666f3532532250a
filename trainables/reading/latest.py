"""One large thing in memory at a time, for what is read from it piece by piece, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Latest(Generic[K, V]):
    """Loads a key's value and keeps it until another key is asked for; shared by threads.

    That it could not be loaded is kept as well, and raised again.
    """

    def __init__(self, load: Callable[[K], V]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._held: tuple[K, V | ValueError] | None = None

    def __call__(self, key: K) -> V:
        with self._lock:
            if self._held is None or self._held[0] != key:
                self._held = None  # room first
                try:
                    self._held = (key, self._load(key))
                except ValueError as error:
                    self._held = (key, error)
            found = self._held[1]
        if isinstance(found, ValueError):
            raise ValueError(str(found)) from found
        return found

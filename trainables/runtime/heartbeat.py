"""Heartbeats: a thread that reports a run as alive, for as long as the run makes progress."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

EVERY_SECONDS = 20.0
"""Seconds between two reports; a run is considered dead after several are missing."""


_active: list[Heartbeat] = []
"""The heartbeats of this process, the innermost last."""


def beat() -> None:
    """Record progress in code that is not given a heartbeat, such as decoding."""
    if _active:
        _active[-1].beat()


class Heartbeat:
    """A context that calls ``report`` every few seconds if :meth:`beat` was called in between.

    A run that hangs is not reported although its process lives, and a store that does not answer
    does not delay training.
    """

    def __init__(self, report: Callable[[], None], every: float = EVERY_SECONDS) -> None:
        self._report, self._every = report, every
        self._progress, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def beat(self) -> None:
        """Record that the run made progress."""
        self._progress.set()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            if self._progress.is_set():
                self._progress.clear()
                with contextlib.suppress(OSError):  # the store is away: the next may succeed
                    self._report()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _active.remove(self)
        self._ended.set()
        self._thread.join(self._every)

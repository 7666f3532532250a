"""A run's sign of life: a thread that tells others, for as long as the run itself gets on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

EVERY_SECONDS = 20.0
"""Between two signs; a run is taken for dead after several without one."""


_beating: list[Heartbeat] = []
"""The pulses of this process, the innermost last."""


def beat() -> None:
    """What this process does gets on: for work that no run hands its pulse to, such as decoding."""
    if _beating:
        _beating[-1].beat()


class Heartbeat:
    """While inside, ``tell`` is called now and then, unless :meth:`beat` was not called since.

    So a run that hangs falls silent although its process lives, and a store that is away does not
    hold up training.
    """

    def __init__(self, tell: Callable[[], None], every: float = EVERY_SECONDS) -> None:
        self._tell, self._every = tell, every
        self._beaten, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def beat(self) -> None:
        """The run got on."""
        self._beaten.set()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            if self._beaten.is_set():
                self._beaten.clear()
                with contextlib.suppress(OSError):  # the store is away: the next sign may arrive
                    self._tell()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        _beating.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _beating.remove(self)
        self._ended.set()
        self._thread.join(self._every)

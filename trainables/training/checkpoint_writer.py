"""Writes checkpoints in a thread while training goes on."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from trainables.checkpoint import Checkpoint
from trainables.training.run_status import RunStatus

if TYPE_CHECKING:
    from trainables.training.loop import Progress
    from trainables.training.sink import Sink

RETRY_SECONDS = 30.0
"""Seconds from a failed write to the next attempt, which writes the state of that moment."""


class CheckpointWriter:
    """Writes one checkpoint at a time; the sink keeps the one before until the next is whole.

    A write that fails is named in a warning and tried again, with a newer state; the run goes on.
    At the end of the context the last write is waited for.
    """

    def __init__(
        self,
        sink: Sink,
        digest: str,
        minutes: float | None = None,
        status: Callable[[], RunStatus | None] = lambda: None,
    ) -> None:
        self._sink, self._digest, self._minutes, self._status = sink, digest, minutes, status
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._kept_step = -1
        """The step of the newest whole checkpoint of this run, over all its networks."""
        self._failed = False

    def due(self, *, validated: bool) -> bool:
        """Whether to begin a write now: none is going on, and the interval is over.

        Without an interval, every validation is followed by a checkpoint.
        """
        if self._thread is not None and self._thread.is_alive():
            return False
        seconds = time.monotonic() - self._began
        if self._failed:
            return seconds >= RETRY_SECONDS
        return validated if self._minutes is None else seconds >= 60 * self._minutes

    def begin(self, checkpoint: Checkpoint) -> None:
        """Begin to write a checkpoint, after the one that is being written."""
        self.wait()
        self._began = time.monotonic()
        self._thread = threading.Thread(
            target=self._write, args=[checkpoint], name="checkpoint", daemon=True
        )
        self._thread.start()

    def keep(self, progress: Progress) -> None:
        """Write a checkpoint of this moment unless that was done, and return when it is there.

        Raises:
            OSError: the store cannot be written.
        """
        self.wait()
        if self._kept_step == progress.step:
            return
        if progress.score is not None and self._sink.pruned(self._digest):
            return  # it is stopped because of this validation
        self._sink.keep(self._digest, progress.save(), self._status())
        self._kept_step = progress.step

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, checkpoint: Checkpoint) -> None:
        step = checkpoint.header["tally"]["before"] + checkpoint.header["step"]
        try:
            self._sink.keep(self._digest, checkpoint, self._status())
            self._kept_step, self._failed = step, False
        except Exception as error:
            self._failed = True
            warnings.warn(
                f"the checkpoint of {self._digest} at step {step} was not written, the one before"
                f" stays and another follows in {RETRY_SECONDS:.0f} s: {error}",
                stacklevel=1,
            )

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wait()

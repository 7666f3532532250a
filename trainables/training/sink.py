"""The interface of the store that an attempt reads checkpoints from and commits its rows to."""

from __future__ import annotations

from typing import Protocol

from trainables.checkpoint import Checkpoint
from trainables.schemas import Outcome, Tables
from trainables.training.run_status import RunStatus
from trainables.training.trained import Shelf


class Sink(Shelf, Protocol):
    """Stores checkpoints, weights and results; picklable, so that it can be sent to a worker."""

    @property
    def code(self) -> str:
        """The version of the code that runs."""
        ...

    def done(self, digest: str) -> Outcome | None:
        """Return the final outcome of this config, None while none is committed."""
        ...

    def pruned(self, digest: str) -> bool:
        """Return whether a pruned attempt of this config is committed."""
        ...

    def resume(self, digest: str) -> Checkpoint | None:
        """Return the newest checkpoint of this config and take over the work on it.

        Raises:
            ValueError: it is damaged.
        """
        ...

    def checkpoint(self, digest: str) -> Checkpoint | None:
        """Return the newest checkpoint of this config without taking over the work on it.

        Its tensors have no data, so that reading its header takes no memory.

        Raises:
            ValueError: it is damaged.
        """
        ...

    def keep(self, digest: str, checkpoint: Checkpoint, status: RunStatus | None = None) -> None:
        """Replace the checkpoint of this config, and record how far its run is.

        The checkpoint before stays until this one is whole.
        """
        ...

    def alive(self, digest: str, status: RunStatus | None = None) -> None:
        """Record that the run of this config makes progress, and how far it is."""
        ...

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        """Make the rows of the attempt visible, all of them or none."""
        ...

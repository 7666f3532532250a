"""Checkpoints of runs in flight: at most one per digest, replaced by the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.storage.object_store import Store

if TYPE_CHECKING:  # it imports torch, which commands that only read the store do without
    from trainables.checkpoint import Checkpoint

PREFIX = "checkpoints/"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a store, by digest."""

    store: Store

    @staticmethod
    def key(digest: str) -> str:
        """Return where the checkpoint of a digest is stored."""
        return f"{PREFIX}{digest}.pt"

    def load(self, digest: str, device: Literal["cpu", "meta"] = "cpu") -> Checkpoint | None:
        """Return the newest checkpoint of a run, if there is one; on ``meta`` without its data.

        Raises:
            ValueError: it is damaged.
        """
        from trainables.checkpoint import Checkpoint

        try:
            with self.store.open(self.key(digest)) as file:
                return Checkpoint.read(file, device)
        except KeyError:
            return None

    def save(self, digest: str, checkpoint: Checkpoint) -> None:
        """Write or replace the checkpoint of a run, which stays until the new one is whole."""
        self.store.put_stream(self.key(digest), checkpoint.write)

    def delete(self, digest: str) -> None:
        """Delete the checkpoint of a run, if there is one."""
        self.store.delete(self.key(digest))

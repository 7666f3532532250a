"""Checkpoints of runs in flight: at most one per digest, replaced by the next one."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.storage.object_store import Store

PREFIX = "checkpoints/"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a store, by digest."""

    store: Store

    @staticmethod
    def key(digest: str) -> str:
        """Return where the checkpoint of a digest is stored."""
        return f"{PREFIX}{digest}.pt"

    def load(self, digest: str) -> bytes | None:
        """Return the newest checkpoint of a run, if there is one."""
        try:
            return self.store.get(self.key(digest))
        except KeyError:
            return None

    def save(self, digest: str, checkpoint: bytes) -> None:
        """Write or replace the checkpoint of a run."""
        self.store.put(self.key(digest), checkpoint)

    def delete(self, digest: str) -> None:
        """Delete the checkpoint of a run, if there is one."""
        self.store.delete(self.key(digest))

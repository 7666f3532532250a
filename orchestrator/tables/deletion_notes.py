"""Notes on deleted trials: each stands in place of a commit record, below ``quarantine/``."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger.commits import PREFIX
from orchestrator.storage.object_store import Store
from orchestrator.tables.lost_records import QUARANTINE, REPLACED


@dataclass(frozen=True)
class Note:
    """When a trial was deleted, and the trainings that it read."""

    deleted: str
    trainings: tuple[str, ...]

    def dump(self) -> bytes:
        """Return the note as it is stored."""
        return json.dumps({"deleted": self.deleted, "trainings": self.trainings}).encode()

    @staticmethod
    def load(value: bytes) -> Note | None:
        """Read a note; None if a damaged commit record was set aside here."""
        try:
            content: dict[str, Any] = json.loads(value)
            return Note(str(content["deleted"]), tuple(map(str, content["trainings"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def notes(store: Store) -> dict[str, Note]:
    """Return the notes of a store, by the digest of the trial."""
    loaded = {key: Note.load(value) for key, value in _values(store).items()}
    return {
        key.removeprefix(QUARANTINE).partition(".")[0]: note
        for key, note in loaded.items()
        if note is not None
    }


def deleted_keys(store: Store, keys: Collection[str]) -> set[str]:
    """Return those keys of commits of which a trial was deleted, and perhaps trained again."""
    places = {
        f"{QUARANTINE}{folder}{key.removeprefix(PREFIX)}": key
        for key in keys
        for folder in ("", REPLACED)
    }
    values = store.get_many(sorted(places)) if places else {}
    return {places[place] for place, value in values.items() if Note.load(value) is not None}


def _values(store: Store) -> dict[str, bytes]:
    replaced = QUARANTINE + REPLACED
    return store.get_many([k for k in store.list(QUARANTINE) if not k.startswith(replaced)])

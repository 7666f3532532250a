"""What a place for objects offers: a directory and S3 differ behind these calls only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Entry:
    """An object in a listing: its key, its size in bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


class Objects(Protocol):
    """Objects by key in one place; each call is one attempt, and what it writes is whole or absent.

    Every call raises one of :data:`~orchestrator.storage.retry.FAILURES` if the place fails.
    """

    def put(self, key: str, value: bytes) -> None:
        """Write or replace an object."""
        ...

    def put_stream(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        """Write or replace an object with what ``write`` writes to a file, in order."""
        ...

    def create(self, key: str, value: bytes) -> bool:
        """Write an object unless its key is taken; return whether this call wrote it."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if it does not exist."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def get(self, key: str) -> bytes:
        """Return the bytes of an object; raises KeyError if there is none."""
        ...

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """Return several objects by key, without absent ones."""
        ...

    def opened(self, key: str) -> BinaryIO:
        """Return an object as a file to read and close; raises KeyError if there is none."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix that ends in ``/``, sorted."""
        ...

    def entries(self, prefix: str) -> list[Entry]:
        """Return the objects below a prefix that ends in ``/``, sorted by key."""
        ...

    def unfinished(self) -> list[Entry]:
        """Return what killed writers left."""
        ...

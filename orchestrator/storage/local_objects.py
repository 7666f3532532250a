"""Objects as files below a directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.storage.local_files import (
    files_below,
    keys_below,
    place,
    place_stream,
    unfinished,
)
from orchestrator.storage.objects import Entry


@dataclass(frozen=True)
class LocalObjects:
    """The objects below the directory ``root``, an absolute path."""

    root: str

    def path(self, key: str) -> Path:
        """Return the file of an object."""
        return Path(f"{self.root}/{key}")

    def put(self, key: str, value: bytes) -> None:
        place(self.path(key), value, replace=True)

    def put_stream(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        place_stream(self.path(key), write, replace=True)

    def create(self, key: str, value: bytes) -> bool:
        try:
            place(self.path(key), value, replace=False)
        except FileExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        return self.path(key).exists()

    def get(self, key: str) -> bytes:
        try:
            with open(f"{self.root}/{key}", "rb") as file:  # a Path takes longer
                return file.read()
        except FileNotFoundError:
            raise KeyError(key) from None

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        return {key: value for key in keys for value in self._if_present(key)}

    def _if_present(self, key: str) -> list[bytes]:
        try:
            return [self.get(key)]
        except KeyError:
            return []

    def opened(self, key: str) -> BinaryIO:
        try:
            return self.path(key).open("rb")
        except FileNotFoundError:
            raise KeyError(key) from None

    def keys(self, prefix: str) -> list[str]:
        return [key for key in keys_below(self.path(prefix), self.root) if not unfinished(key)]

    def entries(self, prefix: str) -> list[Entry]:
        files = files_below(self.path(prefix), self.root)
        return [entry for entry in files if not unfinished(entry.key)]

    def unfinished(self) -> list[Entry]:
        return [e for e in files_below(Path(self.root), self.root) if unfinished(e.key)]

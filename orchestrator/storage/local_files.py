"""Objects as files below a directory: readers see a file whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

TEMPORARY = ".tmp-"
"""The prefix of the name of a file that is not complete yet."""


@dataclass(frozen=True)
class Entry:
    """An object in a listing: its key, its size in bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


def files_below(folder: Path, root: str) -> list[Entry]:
    """Return the files below a folder, with unfinished ones, sorted by key.

    Keys are relative to ``root``. A folder that does not exist is empty; one that cannot be read
    is an error.
    """
    entries: list[Entry] = []
    if not folder.exists():
        return entries
    for directory, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in files:
            path = Path(directory) / name
            with contextlib.suppress(FileNotFoundError):  # deleted since
                status = path.stat()
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                entries.append(Entry(str(path)[len(root) + 1 :], status.st_size, modified))
    return sorted(entries, key=lambda entry: entry.key)


def unfinished(entry: Entry) -> bool:
    """Whether a file is not complete: its writer is still at work, or was killed."""
    return entry.key.rpartition("/")[2].startswith(TEMPORARY)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a folder that was deleted since
        raise error


def place(path: Path, value: bytes, *, replace: bool) -> None:
    """Write a temporary file next to the target, flush it to disk, then rename or link it.

    Raises:
        FileExistsError: the target exists, and ``replace`` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"  # its mode follows the umask
    try:
        with temporary.open("xb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

"""Objects as files below a directory: readers see a file whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

TEMPORARY = ".tmp-"
"""How the name of a file begins that is not whole yet."""


@dataclass(frozen=True)
class Entry:
    """An object as a listing tells it: when it was written, and its size in bytes."""

    key: str
    size: int
    modified: datetime


def files_below(folder: Path, root: str) -> list[Entry]:
    """Files of a local store, unfinished ones too.

    A folder that cannot be read is an error, not an empty one.
    """
    found: list[Entry] = []
    if not folder.exists():
        return found
    for at, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in files:
            path = Path(at) / name
            with contextlib.suppress(FileNotFoundError):  # deleted since
                about = path.stat()
                modified = datetime.fromtimestamp(about.st_mtime, UTC)
                found.append(Entry(str(path)[len(root) + 1 :], about.st_size, modified))
    return sorted(found, key=lambda entry: entry.key)


def unfinished(entry: Entry) -> bool:
    """Whether this is what a writer has begun: it may still be at it, or was killed."""
    return entry.key.rpartition("/")[2].startswith(TEMPORARY)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a folder that was deleted since
        raise error


def place(path: Path, value: bytes, *, replace: bool) -> None:
    """Write beside the target, flush to disk, then rename or link: readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"  # readable by whom the umask lets
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

"""Files that readers see whole or not at all, and listings of what is below a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.storage.objects import Entry

log = logging.getLogger("segprint.store")
WITHOUT_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""Errors of a file system that has no hard links."""
TEMPORARY = ".tmp-"
"""The prefix of the name of a file that is not complete yet."""


def keys_below(folder: Path, root: str) -> list[str]:
    """Return the files below a folder, with unfinished ones, sorted and relative to ``root``.

    A folder that does not exist is empty; one that cannot be read is an error. Links to folders are
    not followed: they are reported.
    """
    if not folder.exists():
        return []
    keys: list[str] = []
    for directory, folders, files in os.walk(folder, onerror=_raise):
        keys += [os.path.join(directory, name)[len(root) + 1 :] for name in files]
        for path in (os.path.join(directory, name) for name in folders):
            if os.path.islink(path):
                _warn_of_link(path)
    return sorted(keys)


@functools.cache
def _warn_of_link(path: str) -> None:
    log.warning(
        "segprint: %s is a link to a folder, and is not read: put the folder itself there", path
    )


def files_below(folder: Path, root: str) -> list[Entry]:
    """Return what :func:`keys_below` does, with sizes and times, which take one look per file."""
    entries: list[Entry] = []
    for key in keys_below(folder, root):
        with contextlib.suppress(FileNotFoundError):  # deleted since
            try:
                status = os.stat(f"{root}/{key}")
            except FileNotFoundError:
                status = os.lstat(f"{root}/{key}")  # a link to nowhere, which readers report
            modified = datetime.fromtimestamp(status.st_mtime, UTC)
            entries.append(Entry(key, status.st_size, modified))
    return entries


def unfinished(key: str) -> bool:
    """Whether a file is not complete: its writer is still at work, or was killed."""
    return key.rpartition("/")[2].startswith(TEMPORARY)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a folder that was deleted since
        raise error


def place(path: Path, value: bytes, *, replace: bool) -> None:
    """Write a whole file, or nothing (:func:`place_stream`)."""
    place_stream(path, lambda file: file.write(value), replace=replace)


def place_stream(path: Path, write: Callable[[BinaryIO], object], *, replace: bool) -> None:
    """Write a temporary file next to the target, flush it to disk, then rename or link it.

    ``write`` writes the content to the file that it is given.

    Raises:
        FileExistsError: the target exists, and ``replace`` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"  # its mode follows the umask
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            _rename_if_absent(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def placed_folder(path: Path) -> Generator[Path]:
    """Yield a new folder next to the target, which gets the target's name at the end.

    A target that is an empty folder is replaced. After an error nothing is left.

    Raises:
        OSError: the target exists and is not an empty folder.
    """
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_if_absent(temporary: Path, path: Path) -> None:
    """Give a file its name unless that is taken; exactly one of several racing writers wins.

    On a file system without hard links (FAT, some network and FUSE mounts) the directory is locked
    instead, which excludes the processes of one machine.

    Raises:
        FileExistsError: the name is taken.
        OSError: the file system has neither hard links nor locks.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
            os.replace(temporary, path)
        finally:
            os.close(directory)

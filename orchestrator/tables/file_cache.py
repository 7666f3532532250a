"""The tables' data files as verified files of this machine.

Their names are hashes of their content. So a file is fetched from S3 once, is read from disk by
DuckDB ever after, and a damaged copy is recognised.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from orchestrator.ledger.commits import DamagedError
from orchestrator.ledger.parquet import read_parquet
from orchestrator.storage.local_files import place
from orchestrator.storage.object_store import Store
from orchestrator.tables.log_seal import DataFile
from trainables.decoding.tree import stamp_of
from trainables.places import cache_dir

PATTERN = re.compile(r"[*?[]")
"""Characters that DuckDB takes for a pattern: files of such a store are copied to the cache."""
FETCHED_TOGETHER = 4
"""Files that are in memory at once; each may have 100 MB."""
IN_USE_SECONDS = 3600.0
"""A copy that was used within this time is not deleted."""


def readable_in_place(store: Store) -> bool:
    """Whether DuckDB can read the files of a store where they are."""
    return not store.remote and PATTERN.search(store.url) is None


def paths(store: Store, files: Sequence[DataFile]) -> list[Path]:
    """Return the verified local path of each file; remote ones are fetched first.

    Raises:
        DamagedError: a file is missing, or does not match its name.
    """
    here = readable_in_place(store)
    local = [Path(store.url, f.key) for f in files] if here else _fetched(store, files)
    for file, path in zip(files, local, strict=True):
        if not _is_verified(path):
            verify(file.key, path.read_bytes() if path.is_file() else None)
            _mark_verified(path)
    return local


def read(store: Store, file: DataFile) -> pa.Table:
    """Return a file's rows, with dictionary columns for texts.

    Raises:
        DamagedError: the file is missing, or is not Parquet.
    """
    (path,) = paths(store, [file])
    try:
        return read_parquet(path, dictionaries=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedError(f"{file.key}: {error}; run `segprint tables rebuild`") from None


def audit(store: Store, file: DataFile) -> None:
    """Verify the stored file, even if it was verified before; delete a local copy that differs.

    Raises:
        DamagedError: the file is missing, or does not match its name.
    """
    value = store.get_many([file.key]).get(file.key)
    verify(file.key, value)
    copy = _folder() / Path(file.key).name
    if copy.is_file() and copy.read_bytes() != value:
        copy.unlink()


def verify(key: str, value: bytes | None) -> None:
    """Raise :class:`DamagedError` unless the bytes have the hash in the file's name."""
    if value is None:
        raise DamagedError(f"{key}: the file is missing; run `segprint tables rebuild`")
    sha256 = hashlib.sha256(value).hexdigest()
    if sha256 != Path(key).stem:
        raise DamagedError(
            f"{key}: the hash of its content is {sha256}; run `segprint tables rebuild`"
        )


# -- copies of remote files -----------------------------------------------------------------------


def _folder() -> Path:
    folder = cache_dir() / "tables"
    if PATTERN.search(str(folder)):
        raise ValueError(
            f"cache {folder}: DuckDB takes *, ? and [ in a path for a pattern; set SEGPRINT_CACHE"
            " to a directory without them"
        )
    return folder


def _fetched(store: Store, files: Sequence[DataFile]) -> list[Path]:
    """Return the local copies of remote files, after fetching missing and damaged ones."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    copies = {file.key: folder / Path(file.key).name for file in files}
    missing = [key for key, path in copies.items() if not _is_verified(path)]
    for start in range(0, len(missing), FETCHED_TOGETHER):
        keys = missing[start : start + FETCHED_TOGETHER]
        values = store.get_many(keys)
        for key in keys:
            verify(key, values.get(key))
            place(copies[key], values[key], replace=True)
            _mark_verified(copies[key])
    for path in copies.values():  # the mark's time says when a copy was last used
        with contextlib.suppress(OSError):
            os.utime(_mark(path))
    if missing:
        _delete_least_recent(folder)
    return list(copies.values())


def _delete_least_recent(folder: Path) -> None:
    """Delete the copies that were not used for longest, until the rest fit the cache."""
    from trainables.decoding.cache import cache_bytes  # it imports the data sets

    copies = sorted((_last_used(p), p.stat().st_size, p) for p in folder.glob("*.parquet"))
    excess = sum(size for _, size, _ in copies) - cache_bytes()
    for used, size, path in copies:
        if excess <= 0 or used > time.time() - IN_USE_SECONDS:
            return
        with contextlib.suppress(FileNotFoundError):  # another process deleted it
            path.unlink()
        excess -= size


def _last_used(path: Path) -> float:
    """Return when a copy was last used; when it was written, if it has no mark."""
    mark = _mark(path)
    return (mark if mark.exists() else path).stat().st_mtime


# -- marks of verified files ----------------------------------------------------------------------


def _is_verified(path: Path) -> bool:
    """Whether this machine verified the file and it did not change since; hashing takes long."""
    try:
        return _mark(path).read_text() == _fingerprint(path)
    except OSError:
        return False


def _mark_verified(path: Path) -> None:
    with contextlib.suppress(OSError):  # then it is verified again
        mark = _mark(path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(_fingerprint(path))


def _mark(path: Path) -> Path:
    name = hashlib.sha256(str(path).encode()).hexdigest()
    return cache_dir() / "verified" / name[:2] / name


def _fingerprint(path: Path) -> str:
    """Return what changes when somebody rewrites a file, even if its size and times are kept."""
    status = path.stat()
    return f"{status.st_size} {stamp_of(status)}"

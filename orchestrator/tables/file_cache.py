"""The folded tables' data files as files of this machine.

Their names are hashes of their content, so what was fetched from S3 once is read from disk ever
after, by DuckDB at full speed, and a damaged copy is known as such.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.commits import DamagedError
from orchestrator.storage.object_store import Store
from orchestrator.tables.log_seal import File
from trainables.decoding.tree import cache_dir

AT_ONCE = 4
"""Files fetched together; each may have 100 MB."""
IN_USE_SECONDS = 3600.0
"""A fetched file that was used within this time is not dropped."""


def paths(store: Store, files: Sequence[File]) -> list[Path]:
    """Where the files lie, fetched and verified first if the store is remote.

    Raises:
        DamagedError: one of them is missing, or not what its name says.
    """
    at = _fetched(store, files) if store.remote else [Path(store.url, file.key) for file in files]
    for file, path in zip(files, at, strict=True):
        if not _verified(path):
            verify(file.key, path.read_bytes() if path.is_file() else None)
            _stamp(path)
    return at


def _fetched(store: Store, files: Sequence[File]) -> list[Path]:
    """Copies of remote files, the missing and the damaged ones fetched."""
    folder = cache_dir() / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    at = {file.key: folder / Path(file.key).name for file in files}
    lacking = [file.key for file in files if not _verified(at[file.key])]
    for start in range(0, len(lacking), AT_ONCE):
        keys = lacking[start : start + AT_ONCE]
        values = store.get_many(keys)
        for key in keys:
            verify(key, values.get(key))
            _place(at[key], values[key])
            _stamp(at[key])
    for path in at.values():
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    if lacking:
        _bound(folder)
    return list(at.values())


def _verified(path: Path) -> bool:
    """Whether this machine has verified the file as it lies there: hashing takes a while."""
    try:
        return _stamp_of(path).read_text() == _state(path)
    except OSError:
        return False


def _stamp(path: Path) -> None:
    with contextlib.suppress(OSError):  # then it is verified again
        stamp = _stamp_of(path)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(_state(path))


def _stamp_of(path: Path) -> Path:
    place = hashlib.sha256(str(path).encode()).hexdigest()
    return cache_dir() / "verified" / place[:2] / place


def _state(path: Path) -> str:
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ino}"


def read(store: Store, file: File) -> pa.Table:
    """One file's rows, with their names coded.

    Raises:
        DamagedError: it is missing, or does not read as Parquet.
    """
    (path,) = paths(store, [file])
    try:
        names = [f.name for f in pq.read_schema(path) if pa.types.is_string(f.type)]
        return pq.read_table(path, read_dictionary=names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedError(f"{file.key}: {error}; run `segprint tables rebuild`") from None


def audit(store: Store, file: File) -> None:
    """Hash what the store has, whatever was verified before; drop a copy that differs.

    Raises:
        DamagedError: the file is missing, or not what its name says.
    """
    value = store.get_many([file.key]).get(file.key)
    verify(file.key, value)
    copy = cache_dir() / "tables" / Path(file.key).name
    if store.remote and copy.is_file() and copy.read_bytes() != value:
        copy.unlink()


def verify(key: str, value: bytes | None) -> None:
    """Raise :class:`DamagedError` unless these are the bytes that the file is named by."""
    if value is None:
        raise DamagedError(f"{key}: the file is missing; run `segprint tables rebuild`")
    found = hashlib.sha256(value).hexdigest()
    if found != Path(key).stem:
        raise DamagedError(
            f"{key}: the hash of its content is {found}; run `segprint tables rebuild`"
        )


def _place(path: Path, value: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(value)
    os.replace(temporary, path)


def _bound(folder: Path) -> None:
    """Drop the files that were not used for longest, until the rest fit the cache."""
    from trainables.decoding.cache import cache_bytes  # it imports the data sets

    listed = sorted((p.stat().st_atime, p.stat().st_size, p) for p in folder.glob("*.parquet"))
    too_many = sum(size for _, size, _ in listed) - cache_bytes()
    for used, size, path in listed:
        if too_many <= 0 or used > time.time() - IN_USE_SECONDS:
            return
        with contextlib.suppress(FileNotFoundError):  # another process was first
            path.unlink()
        too_many -= size

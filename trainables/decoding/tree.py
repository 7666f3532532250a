"""The files below a place: a directory, an ``s3://`` prefix, and what zip archives there hold."""

from __future__ import annotations

import functools
import hashlib
import lzma
import os
import re
import stat
import struct
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import fsspec

from trainables.interfaces.dataset import Problem
from trainables.places import located
from trainables.runtime.heartbeat import beat

MAX_FILE = 8 * 2**30
"""Bytes of one file, also within an archive: a bomb is refused before it is unpacked."""
RETRIES = {"mode": "standard", "max_attempts": 1}
"""Settings of botocore; s3fs repeats each call up to five times itself."""
SKIPPED = ("__MACOSX", "Thumbs.db", "desktop.ini")


BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    IndexError,
    RuntimeError,
)
"""Errors that zipfile raises on damaged archives; a RuntimeError on encrypted ones."""
UNPRINTABLE = "has a name that is not printable UTF-8"


def in_a_line(error: object) -> str:
    """Return a library's error on one line, without addresses of memory."""
    return re.sub(r" ?<\S+ object at 0x\w+>", "", " ".join(str(error).split()))


def control(character: str) -> bool:
    """Return whether a character breaks a line, or is none; unusual spaces are allowed."""
    return unicodedata.category(character) in ("Cc", "Cs")


def printable(name: str) -> str:
    """Return a file's name with control characters escaped."""
    return "".join(ascii(c)[1:-1] if control(c) else c for c in name)


@dataclass(frozen=True)
class File:
    """One file, not read yet."""

    path: str
    """Below the tree, parts joined by ``/``; within an archive ``archive.zip/inner.png``."""
    size: int
    stamp: str
    """Changes when the content does."""
    content: Callable[[], bytes]

    @property
    def name(self) -> PurePosixPath:
        """The path with its parts, stem and suffix."""
        return PurePosixPath(self.path)

    @property
    def suffix(self) -> str:
        """In lower case; ``.nii.gz`` is one."""
        lower = self.name.name.lower()
        return ".nii.gz" if lower.endswith(".nii.gz") else PurePosixPath(lower).suffix

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return self.name.name[: -len(self.suffix)] if self.suffix else self.name.name

    def read(self) -> bytes:
        """All of its bytes.

        Raises:
            ValueError: it is empty, or cannot be read.
        """
        if self.size > MAX_FILE:
            raise ValueError(f"has {self.size} bytes, more than {MAX_FILE}")
        try:
            data = self.content()
        except (OSError, *BROKEN_ZIP) as error:
            raise ValueError(f"cannot be read: {in_a_line(error)}") from error
        if not data:
            raise ValueError("is empty (0 bytes)")
        return data


@dataclass(frozen=True)
class Tree:
    """All files below a place, sorted by path, and what could not be listed."""

    url: str
    files: tuple[File, ...]
    problems: tuple[Problem, ...]

    @property
    def stamp(self) -> str:
        """Changes when any file's path, size or stamp does."""
        listing = "\n".join(f"{f.path}|{f.size}|{f.stamp}" for f in self.files)
        return hashlib.sha256(listing.encode()).hexdigest()


def tree(at: str) -> Tree:
    """List a place, the members of its zip archives among the rest.

    ``at`` is as in :func:`trainables.places.located`.

    Raises:
        FileNotFoundError: there is no such place, or it holds no file.
    """
    url = located(at)
    files: list[File] = []
    problems: list[Problem] = []
    listed = _remote(url) if url.startswith("s3://") else _local(Path(url), Path(url), ())
    for item in listed:
        beat()
        if isinstance(item, Problem):
            problems.append(item)
        elif item.suffix == ".zip":
            _unzip(url, item, files, problems)
        else:
            files.append(item)
    files = _once(files)
    if not files and not problems:
        raise FileNotFoundError(f"{url} holds no file")
    return Tree(url, tuple(sorted(files, key=lambda f: f.path)), tuple(problems))


def _once(files: list[File]) -> list[File]:
    """Return the files without archive members that are also there unpacked."""
    sizes = {f.path: f.size for f in files}
    kept: list[File] = []
    for file in files:
        archive, separator, inner = file.path.partition(".zip/")
        above = archive.rpartition("/")[0]
        unpacked = [f"{folder}/{inner}".lstrip("/") for folder in (above, archive)]
        if not separator or all(sizes.get(path) != file.size for path in unpacked):
            kept.append(file)
    return kept


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED


def _local(
    root: Path, folder: Path, above: tuple[tuple[int, int], ...]
) -> Iterator[File | Problem]:
    """Yield the regular files below a folder; links are followed, cycles are problems."""
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except FileNotFoundError:
        if folder == root:
            raise FileNotFoundError(f"{root} does not exist") from None
        yield Problem(_below(root, folder), "is a link to nothing")
        return
    except OSError as error:
        yield Problem(_below(root, folder), f"cannot be listed: {error.strerror}")
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        yield Problem(_below(root, folder), "is a link to a folder that it lies in")
        return
    for entry in entries:
        if _hidden(entry.name):
            continue
        path = Path(entry.path)
        if any(map(control, entry.name)):
            yield Problem(printable(_below(root, path)), UNPRINTABLE)
            continue
        try:
            mode = entry.stat()
        except OSError as error:
            what = "is a link to nothing" if entry.is_symlink() else f"cannot be read: {error}"
            yield Problem(_below(root, path), what)
            continue
        if stat.S_ISDIR(mode.st_mode):
            yield from _local(root, path, (*above, here))
        elif stat.S_ISREG(mode.st_mode):
            yield File(_below(root, path), mode.st_size, stamp_of(mode), path.read_bytes)
        else:
            yield Problem(_below(root, path), "is neither a file nor a folder")


def stamp_of(status: os.stat_result) -> str:
    """Return a text that changes when somebody writes or replaces a local file.

    Tools can set the time of modification, as ``cp -p`` does, but not the time of change of the
    status; a file that is put in the place of another has another inode.
    """
    return f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _remote(url: str) -> Iterator[File]:
    files = s3()
    root = url.removeprefix("s3://")
    try:
        files.invalidate_cache()  # other machines write there
        pages = files.s3.meta.events  # s3fs yields none before the last
        pages.register("after-call.s3.ListObjectsV2", _page_listed, unique_id="beat")
        listing = cast("dict[str, dict[str, Any]]", files.find(root, detail=True))
    except Exception as error:
        raise OSError(
            f"data {url}: cannot be listed: {error}; check the bucket, AWS_ENDPOINT_URL and the"
            " credentials"
        ) from error
    if not listing:
        raise FileNotFoundError(f"{url} does not exist, or holds no file")
    for path, details in listing.items():
        below = path[len(root) + 1 :]
        if not below or any(_hidden(part) for part in below.split("/")):
            continue
        stamp = str(details.get("ETag") or details.get("LastModified"))
        yield File(below, int(details["size"]), stamp, functools.partial(files.cat_file, path))


def _page_listed(**_: object) -> None:
    """A listing of many files is alive."""
    beat()


@functools.cache
def s3() -> Any:
    """The file system of ``s3://``; credentials and endpoint come from the AWS chain."""
    library: Any = fsspec
    return library.filesystem("s3", config_kwargs={"connect_timeout": 5, "retries": RETRIES})


def _unzip(url: str, file: File, files: list[File], problems: list[Problem]) -> None:
    """Add an archive's members to the files."""
    try:
        archive = _Archive(url, file)
        members = archive.open().infolist()
    except (OSError, ValueError, *BROKEN_ZIP) as error:
        rule = f"is no zip archive that can be read: {in_a_line(error)}"
        problems.append(Problem(file.path, rule))
        return
    for member in members:
        name = member.filename.replace("\\", "/")  # some programs of Windows join by it
        path = f"{file.path}/{name}"
        if not name or name.endswith("/") or any(_hidden(part) for part in name.split("/")):
            continue
        if any(map(control, name)):
            problems.append(Problem(printable(path), UNPRINTABLE))
            continue
        if member.file_size > MAX_FILE:
            problems.append(
                Problem(path, f"unpacks to {member.file_size} bytes, more than {MAX_FILE}")
            )
            continue
        stamp = f"{file.stamp}:{member.CRC}"
        read = functools.partial(archive.read, member)
        files.append(File(path, member.file_size, stamp, read))


class _Archive:
    """A zip archive, opened once per process and read by one thread at a time."""

    def __init__(self, url: str, file: File) -> None:
        self.path, self.remote = f"{url}/{file.path}", url.startswith("s3://")
        self._lock = threading.Lock()
        self._open: zipfile.ZipFile | None = None

    def open(self) -> zipfile.ZipFile:
        if self._open is None:
            source: Any = s3().open(self.path) if self.remote else self.path
            self._open = zipfile.ZipFile(source)
        return self._open

    def read(self, member: zipfile.ZipInfo) -> bytes:
        with self._lock:
            return self.open().read(member)

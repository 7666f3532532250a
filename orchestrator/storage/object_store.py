"""Objects by key, in a local directory or in S3: the only module that uses fsspec for the store.

Writes are whole or absent, and every call is retried while the store is away. Credentials,
endpoint and region come from the usual AWS chain (environment, profile, instance), never from a
URL.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec

from orchestrator.storage.local_files import (
    Entry,
    files_below,
    keys_below,
    place,
    place_stream,
    unfinished,
)
from orchestrator.storage.retry import FAILURES, s3_code, with_retries

S3_CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 60,
    "retries": {"mode": "standard", "max_attempts": 2},
}
"""Settings of botocore; s3fs makes five attempts on top, with exponential backoff."""
PART_BYTES = 16 * 2**20
"""The size of the parts in which a large object is uploaded; S3 permits 10,000 of them."""
AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f]|%[0-9a-fA-F]{2}")
"""What deltalake decodes once more than it encodes, or what no path can hold."""
Result = TypeVar("Result")


class StoreError(OSError):
    """The store cannot be reached, read or written."""


@dataclass(frozen=True)
class Store:
    """A flat space of objects below ``url``; picklable, it connects where it is used.

    A call that fails in a way that may pass (503, a lost connection, a full disk) is retried for
    ``patience`` seconds, with exponential backoff and full jitter.

    Raises:
        ValueError: the URL is neither a directory nor ``s3://BUCKET[/PREFIX]``.
    """

    url: str
    patience: float = 4.0

    def __post_init__(self) -> None:
        scheme, separator, rest = self.url.partition("://")
        bucket = rest.partition("/")[0]
        if separator and "@" in rest and ("@" in bucket or ":" in bucket):
            raise ValueError("store: credentials belong in the environment, not in the URL")
        if separator and (scheme != "s3" or not rest.strip("/")):
            raise ValueError(f"store {self.url!r} must be a directory or s3://BUCKET[/PREFIX]")
        if separator and "//" in rest:
            raise ValueError(f"store {self.url!r} has an empty folder name in it")
        if AMBIGUOUS.search(self.url):
            raise ValueError(
                f"store {self.url!r} must not hold control characters, or % before two hexadecimal"
                " digits: deltalake reads them as another path"
            )
        if not separator:
            object.__setattr__(self, "url", str(Path(self.url).expanduser().absolute()))

    @property
    def remote(self) -> bool:
        """Whether the objects are in S3."""
        return self.url.startswith("s3://")

    def patient(self, seconds: float) -> Store:
        """Return the same store with another patience."""
        return replace(self, patience=seconds)

    def local_path(self, key: str) -> Path | None:
        """Return the file of an object; None if the store is remote."""
        return None if self.remote else Path(self._path(key))

    # -- writing ------------------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        """Write or replace one object."""
        _refuse_outside(key)
        try:
            self.with_retries("write", key, lambda: self._write(key, value, replace=True))
        except FAILURES as error:
            raise self.error("write", key, error) from error

    def put_stream(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        """Write or replace one large object; ``write`` writes its content to a file, in order.

        At most :data:`PART_BYTES` of it, or one write, are held in memory. The object before stays
        readable until this one is whole. ``write`` is called again where the upload fails.
        """
        _refuse_outside(key)
        try:
            self.with_retries("write", key, lambda: self._stream(key, write))
        except FAILURES as error:
            raise self.error("write", key, error) from error

    def _stream(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        if not self.remote:
            place_stream(Path(self._path(key)), write, replace=True)
            return
        file = self._files.open(self._path(key), "wb", block_size=PART_BYTES)
        try:
            write(file)
            file.close()  # it completes the upload, so a failed one must not reach this line
        except BaseException:
            with contextlib.suppress(*FAILURES):
                file.discard()
            file.closed = True
            raise

    def create(self, key: str, value: bytes) -> bool:
        """Write one object unless it exists; return whether it now has this value.

        On S3 this is a conditional PUT (``If-None-Match: *``) after a look: a server that ignores
        the condition can be fooled only by two writers within the same milliseconds, and then
        keeps one of the two, whole. A write whose answer was lost is found to be there.
        """
        _refuse_outside(key)
        try:
            if not self.with_retries("look for", key, lambda: self._exists(key)):
                self.with_retries("write", key, lambda: self._write(key, value, replace=False))
                return True
        except FileExistsError:
            pass
        except FAILURES as error:
            raise self.error("write", key, error) from error
        try:
            return self.get(key) == value
        except KeyError:  # deleted since
            return False

    def delete(self, key: str) -> None:
        """Delete one object; nothing happens if it does not exist."""
        _refuse_outside(key)
        path = self._path(key)
        try:
            self.with_retries("delete", key, lambda: self._files.rm_file(path))
        except FileNotFoundError:
            return
        except FAILURES as error:
            raise self.error("delete", key, error) from error

    def _write(self, key: str, value: bytes, *, replace: bool) -> None:
        if not self.remote:
            place(Path(self._path(key)), value, replace=replace)
        elif replace:
            self._files.pipe_file(self._path(key), value)
        else:
            try:
                self._files.pipe_file(self._path(key), value, mode="create")
            except FAILURES as error:
                if s3_code(error) == "PreconditionFailed":
                    raise FileExistsError(key) from error
                if s3_code(error) != "NotImplemented":
                    raise
                self._files.pipe_file(self._path(key), value)  # create() has looked

    # -- reading ------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """Return the bytes of one object.

        Raises:
            KeyError: there is no such object.
        """
        path = self._path(key)
        try:
            value: bytes = self.with_retries("read", key, lambda: self._read(path))
        except FileNotFoundError:
            raise KeyError(key) from None
        except FAILURES as error:
            raise self.error("read", key, error) from error
        return value

    def _read(self, path: str) -> bytes:
        if self.remote:
            return self._files.cat_file(path)
        with open(path, "rb") as file:  # a Path takes longer
            return file.read()

    @contextlib.contextmanager
    def open(self, key: str) -> Generator[BinaryIO]:
        """Open one large object for reading; one of S3 is downloaded to a temporary file.

        Raises:
            KeyError: there is no such object.
        """
        if not self.remote:
            with self._opened(key) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile(prefix="segprint-") as file:
            path = self._path(key)
            try:
                self.with_retries("read", key, lambda: self._files.get_file(path, file.name))
            except FileNotFoundError:
                raise KeyError(key) from None
            except FAILURES as error:
                raise self.error("read", key, error) from error
            yield cast("BinaryIO", file)

    def _opened(self, key: str) -> BinaryIO:
        try:
            return Path(self._path(key)).open("rb")
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            raise self.error("read", key, error) from error

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """Return several objects by key, without absent ones; S3 is read concurrently."""
        if not self.remote:
            return {key: value for key in keys for value in self._get_if_present(key)}
        paths = {self._path(key): key for key in keys}
        what = keys[0] if len(keys) == 1 else f"{len(keys)} objects"
        values: dict[str, bytes] = {}
        try:
            if paths:
                values = self.with_retries("read", what, lambda: self._cat(list(paths)))
        except FAILURES as error:
            raise self.error("read", what, error) from error
        return {paths[path]: value for path, value in values.items()}

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a prefix that ends in ``/``, sorted."""
        if self.remote:
            return [entry.key for entry in self.entries(prefix)]
        folder = Path(self._path(prefix))
        keys = self._listed(prefix, lambda: keys_below(folder, self._root), [])
        return [key for key in keys if not unfinished(key)]

    def entries(self, prefix: str) -> list[Entry]:
        """Return the objects below a prefix that ends in ``/``, sorted by key."""
        path = self._path(prefix)
        if not self.remote:
            files = self._listed(prefix, lambda: files_below(Path(path), self._root), [])
            return [entry for entry in files if not unfinished(entry.key)]
        listing: dict[str, dict[str, Any]] = self._listed(
            prefix, lambda: self._files.find(path, detail=True), {}
        )
        start = len(self._root) + 1
        entries = [
            Entry(path[start:], int(info["size"]), info["LastModified"])
            for path, info in listing.items()
            if path[start:].startswith(prefix) and info["type"] == "file"
        ]
        return sorted(entries, key=lambda entry: entry.key)

    def unfinished(self) -> list[Entry]:
        """Return the files that killed writers left in a directory; S3 drops its own."""
        files = [] if self.remote else files_below(Path(self.url), self._root)
        return [entry for entry in files if unfinished(entry.key)]

    def _listed(self, prefix: str, call: Callable[[], Result], empty: Result) -> Result:
        """Return a listing; ``empty`` if there is no such folder."""
        try:
            return self.with_retries("list", prefix, call)
        except FileNotFoundError:
            return empty
        except FAILURES as error:
            raise self.error("list", prefix, error) from error

    def _exists(self, key: str) -> bool:
        if not self.remote:
            return Path(self._path(key)).exists()
        bucket, _, path = self._path(key).partition("/")
        try:
            self._files.call_s3("head_object", Bucket=bucket, Key=path)
        except FileNotFoundError:
            return False
        return True

    def _get_if_present(self, key: str) -> list[bytes]:
        try:
            return [self.get(key)]
        except KeyError:
            return []

    def _cat(self, paths: list[str]) -> dict[str, bytes]:
        # cat() would take *, ? and [ in a path for a pattern.
        values: list[object] = self._files.cat_ranges(paths, None, None, on_error="return")
        for value in values:
            if isinstance(value, BaseException) and not isinstance(value, FileNotFoundError):
                raise value
        present = zip(paths, values, strict=True)
        return {path: value for path, value in present if isinstance(value, bytes)}

    # -- checks and errors --------------------------------------------------------------------

    def check(self) -> bool:
        """Prove that objects can be written, read, listed and deleted.

        Returns whether exactly one of several racing creators wins; if more than one does, the
        object of the last one is kept, whole.

        Raises:
            StoreError: the store cannot be used; says what failed.
        """
        key = f"checks/{uuid.uuid4().hex}"
        values = [f"writer {i}".encode() for i in range(4)]

        def create(value: bytes) -> bool:
            return self._create_without_look(key, value)

        with ThreadPoolExecutor(len(values)) as pool:
            winners = sum(pool.map(create, values))
        try:
            if self.get(key) not in values or self.list("checks/").count(key) != 1:
                raise StoreError(f"store {self.url}: {key} does not read as it was written")
        except KeyError:
            raise StoreError(f"store {self.url}: {key} was written, and is not there") from None
        finally:
            with contextlib.suppress(StoreError):
                self.delete(key)
        self.delete(key)
        return winners == 1

    def _create_without_look(self, key: str, value: bytes) -> bool:
        """Create an object as :meth:`create` does, but trust the store's own condition."""
        try:
            self.with_retries("write", key, lambda: self._write(key, value, replace=False))
        except FileExistsError:
            return False
        except FAILURES as error:
            raise self.error("write", key, error) from error
        return True

    def with_retries(self, verb: str, key: str, call: Callable[[], Result]) -> Result:
        """Repeat a call until it succeeds, fails permanently, or patience ends."""
        what = f"store {self.url}: {verb} {key}"
        return with_retries(call, self.patience, what, remote=self.remote)

    def error(self, verb: str, key: str, error: Exception) -> StoreError:
        """Return the error of a failed call as one line."""
        hint = ""
        if self.remote:
            hint = "; check the bucket, AWS_ENDPOINT_URL and the credentials"
        return StoreError(f"store {self.url}: cannot {verb} {key}: {error}{hint}")

    # -- the connection -----------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return self.url.removeprefix("s3://").rstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @cached_property
    def _files(self) -> Any:
        """The file system of fsspec, which has no types."""
        connect = cast("Any", fsspec).filesystem
        if not self.remote:
            return connect("file")
        # Listings are not cached: other drivers and workers write to the same prefix. Without
        # concurrent ranges, a read is one request.
        return connect(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=1,
            config_kwargs=S3_CLIENT,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "patience": self.patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _refuse_outside(key: str) -> None:
    """Raise unless a key is below the store; some keys are put together from stored text.

    Raises:
        ValueError: a folder in the key is ``..``.
    """
    if ".." in key.split("/"):
        raise ValueError(f"key {key!r} must not hold the folder '..', which leaves the store")

"""Objects by key, in a local directory or in S3: the only file that uses the file-system library.

Writes are whole or absent, and every call waits out a store that is away for a while.
Credentials, endpoint and region come from the usual AWS chain (environment, profile, instance),
never from a URL.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import fsspec

from orchestrator.storage.local_files import Entry, files_below, place, unfinished
from orchestrator.storage.retry import FAILURES, s3_code, wait


class StoreError(OSError):
    """The store cannot be reached, read or written."""


CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 60,
    "retries": {"mode": "standard", "max_attempts": 2},
}
"""Of botocore; s3fs tries each call five times on top, backing off exponentially."""


@dataclass(frozen=True)
class Store:
    """A flat space of objects below ``url``; picklable, it connects where it is used.

    A call that fails in a way that may pass (503, a lost connection, a full disk) is tried again
    for ``patience`` seconds, with exponential backoff and full jitter.
    """

    url: str
    patience: float = 4.0

    def __post_init__(self) -> None:
        scheme, found, rest = self.url.partition("://")
        if found and "@" in rest:
            raise ValueError("store: credentials belong in the environment, not in the URL")
        if found and (scheme != "s3" or not rest.strip("/")):
            raise ValueError(f"store {self.url!r} must be a directory or s3://BUCKET[/PREFIX]")
        if found and "//" in rest:
            raise ValueError(f"store {self.url!r} has an empty folder name in it")
        if not found:
            object.__setattr__(self, "url", str(Path(self.url).expanduser().absolute()))

    @property
    def remote(self) -> bool:
        """Whether the objects are in S3."""
        return self.url.startswith("s3://")

    @property
    def _root(self) -> str:
        return self.url.removeprefix("s3://").rstrip("/")

    @cached_property
    def _files(self) -> Any:
        if not self.remote:
            return fsspec.filesystem("file")
        # Listings are not cached: other drivers and workers write to the same prefix. Without
        # concurrent ranges, a read is one request.
        return fsspec.filesystem(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=1,
            config_kwargs=CLIENT,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "patience": self.patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def patient(self, seconds: float) -> Store:
        """The same store, waited for as long as a trial's hours of work are worth."""
        return replace(self, patience=seconds)

    def local_path(self, key: str) -> Path | None:
        """Where an object lies, if it is a file of this machine."""
        return None if self.remote else Path(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def wait(self, verb: str, key: str, call: Callable[[], Any]) -> Any:
        """Call until it works, fails for good, or patience ends."""
        what = f"store {self.url}: {verb} {key}"
        return wait(call, self.patience, what, remote=self.remote)

    def put(self, key: str, value: bytes) -> None:
        """Write or replace one object."""
        try:
            self.wait("write", key, lambda: self._write(key, value, replace=True))
        except FAILURES as error:
            raise self.error("write", key, error) from error

    def create(self, key: str, value: bytes) -> bool:
        """Write one object unless it exists; whether it now is what this call brought.

        On S3 this is a conditional PUT (``If-None-Match: *``) after a look: a server that ignores
        the condition can be fooled only by two writers within the same milliseconds, and then
        keeps one of the two, whole. A write whose answer was lost is found to be there.
        """
        try:
            if not self.wait("look for", key, lambda: self._there(key)):
                self.wait("write", key, lambda: self._write(key, value, replace=False))
                return True
        except FileExistsError:
            pass
        except FAILURES as error:
            raise self.error("write", key, error) from error
        try:
            return self.get(key) == value
        except KeyError:  # deleted since
            return False

    def _there(self, key: str) -> bool:
        if not self.remote:
            return Path(self._path(key)).exists()
        bucket, _, path = self._path(key).partition("/")
        try:
            self._files.call_s3("head_object", Bucket=bucket, Key=path)
        except FileNotFoundError:
            return False
        return True

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

    def get(self, key: str) -> bytes:
        """The bytes of one object.

        Raises:
            KeyError: there is no such object.
        """
        try:
            path = self._path(key)
            return cast("bytes", self.wait("read", key, lambda: self._files.cat_file(path)))
        except FileNotFoundError:
            raise KeyError(key) from None
        except FAILURES as error:
            raise self.error("read", key, error) from error

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """Several objects at once, concurrently where the store allows it; absent ones left out."""
        if not self.remote:
            return {key: value for key in keys for value in self._present(key)}
        paths = {self._path(key): key for key in keys}
        found: dict[str, bytes] = {}
        try:
            if paths:
                found = self.wait("read", f"{len(keys)} objects", lambda: self._cat(list(paths)))
        except FAILURES as error:
            raise self.error("read", f"{len(keys)} objects", error) from error
        return {paths[path]: value for path, value in found.items()}

    def _present(self, key: str) -> list[bytes]:
        try:
            return [self.get(key)]
        except KeyError:
            return []

    def _cat(self, paths: list[str]) -> dict[str, bytes]:
        found: dict[str, Any] = self._files.cat(paths, on_error="return")
        for value in found.values():
            if isinstance(value, BaseException) and not isinstance(value, FileNotFoundError):
                raise value
        return {path: value for path, value in found.items() if isinstance(value, bytes)}

    def list(self, prefix: str) -> list[str]:
        """Keys below a prefix that ends in ``/``, sorted."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        """Objects below a prefix that ends in ``/``, sorted by key."""
        path = self._path(prefix)
        try:
            if not self.remote:
                found = self.wait("list", prefix, lambda: files_below(Path(path), self._root))
                return [entry for entry in found if not unfinished(entry)]
            listed: dict[str, dict[str, Any]] = self.wait(
                "list", prefix, lambda: self._files.find(path, detail=True)
            )
        except FileNotFoundError:
            return []
        except FAILURES as error:
            raise self.error("list", prefix, error) from error
        start = len(self._root) + 1
        return sorted(
            (
                Entry(path[start:], int(about["size"]), cast("datetime", about["LastModified"]))
                for path, about in listed.items()
                if path[start:].startswith(prefix) and about["type"] == "file"
            ),
            key=lambda entry: entry.key,
        )

    def unfinished(self) -> list[Entry]:
        """What killed writers left in a directory; S3 drops its own."""
        found = [] if self.remote else files_below(Path(self.url), self._root)
        return [entry for entry in found if unfinished(entry)]

    def delete(self, key: str) -> None:
        """Remove one object; nothing happens if it does not exist."""
        path = self._path(key)
        try:
            self.wait("delete", key, lambda: self._files.rm_file(path))
        except FileNotFoundError:
            return
        except FAILURES as error:
            raise self.error("delete", key, error) from error

    def check(self) -> bool:
        """Prove that objects can be written, read, listed and deleted.

        Returns whether of several racing creators exactly one wins; where more do, the last of
        them is kept, whole.

        Raises:
            StoreError: the store cannot be used; says for what.
        """
        key = f"checks/{uuid.uuid4().hex}"
        words = [f"writer {i}".encode() for i in range(4)]
        with ThreadPoolExecutor(len(words)) as pool:
            won = sum(pool.map(lambda word: self._race(key, word), words))
        try:
            if self.get(key) not in words or self.list("checks/").count(key) != 1:
                raise StoreError(f"store {self.url}: {key} does not read as it was written")
        except KeyError:
            raise StoreError(f"store {self.url}: {key} was written, and is not there") from None
        finally:
            with contextlib.suppress(StoreError):
                self.delete(key)
        self.delete(key)
        return won == 1

    def _race(self, key: str, value: bytes) -> bool:
        """Create without the look, to learn what the store itself guarantees."""
        try:
            self.wait("write", key, lambda: self._write(key, value, replace=False))
        except FileExistsError:
            return False
        except FAILURES as error:
            raise self.error("write", key, error) from error
        return True

    def error(self, verb: str, key: str, error: Exception) -> StoreError:
        hint = ""
        if self.remote:
            hint = "; check the bucket, AWS_ENDPOINT_URL and the credentials"
        return StoreError(f"store {self.url}: cannot {verb} {key}: {error}{hint}")

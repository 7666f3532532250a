"""Objects by key, in a local directory or in S3: the only file that uses the file-system library.

Writes are whole or absent. Credentials, endpoint and region come from the usual AWS chain
(environment, profile, instance), never from a URL.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import fsspec
from botocore.exceptions import BotoCoreError, ClientError


class StoreError(OSError):
    """The store cannot be reached, read or written."""


FAILURES = (OSError, BotoCoreError)
CONFLICTS = 8
"""How often a conditional PUT is tried again while S3 answers 409."""
CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 60,
    "retries": {"mode": "standard", "max_attempts": 2},
}
"""Of botocore; s3fs tries each call five times on top, backing off exponentially."""


@dataclass(frozen=True)
class Store:
    """A flat space of objects below ``url``; picklable, it connects where it is used."""

    url: str

    def __post_init__(self) -> None:
        scheme, found, rest = self.url.partition("://")
        if found and "@" in rest:
            raise ValueError("store: credentials belong in the environment, not in the URL")
        if found and (scheme != "s3" or not rest.strip("/")):
            raise ValueError(f"store {self.url!r} must be a directory or s3://BUCKET[/PREFIX]")
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
        # Listings are not cached: other drivers and workers write to the same prefix.
        return fsspec.filesystem(
            "s3", use_listings_cache=False, skip_instance_cache=True, config_kwargs=CLIENT
        )

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, str]) -> None:
        object.__setattr__(self, "url", state["url"])

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def put(self, key: str, value: bytes) -> None:
        """Write or replace one object."""
        try:
            if self.remote:
                self._files.pipe_file(self._path(key), value)
            else:
                _place(Path(self._path(key)), value, replace=True)
        except FAILURES as error:
            raise self._error("write", key, error) from error

    def create(self, key: str, value: bytes) -> bool:
        """Write one object unless it exists; whether this call wrote it.

        On S3 this is a conditional PUT (``If-None-Match: *``).
        """
        for _ in range(CONFLICTS):
            try:
                if self.remote:
                    self._files.pipe_file(self._path(key), value, mode="create")
                else:
                    _place(Path(self._path(key)), value, replace=False)
            except FileExistsError:
                return False
            except FAILURES as error:
                code = _s3_code(error)
                if code == "PreconditionFailed":
                    return False
                if code != "ConditionalRequestConflict":  # another creator is at it right now
                    raise self._error("write", key, error) from error
            else:
                return True
        raise StoreError(f"store {self.url}: {key} is contested, {CONFLICTS} tries to create it")

    def get(self, key: str) -> bytes:
        """The bytes of one object.

        Raises:
            KeyError: there is no such object.
        """
        try:
            return cast("bytes", self._files.cat_file(self._path(key)))
        except FileNotFoundError:
            raise KeyError(key) from None
        except FAILURES as error:
            raise self._error("read", key, error) from error

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """Several objects at once, concurrently where the store allows it.

        Raises:
            KeyError: one of them does not exist.
        """
        if not self.remote:
            return {key: self.get(key) for key in keys}
        paths = {self._path(key): key for key in keys}
        try:
            found: dict[str, bytes] = self._files.cat(list(paths)) if paths else {}
        except FileNotFoundError as error:
            raise KeyError(str(error)) from None
        except FAILURES as error:
            raise self._error("read", f"{len(keys)} objects", error) from error
        return {paths[path]: value for path, value in found.items()}

    def list(self, prefix: str) -> list[str]:
        """Keys below a prefix that ends in ``/``, sorted."""
        try:
            paths = cast("list[str]", self._files.find(self._path(prefix)))
        except FileNotFoundError:
            return []
        except FAILURES as error:
            raise self._error("list", prefix, error) from error
        keys = (path[len(self._root) + 1 :] for path in paths)
        # Some S3 servers list a folder as an object; unfinished local writes are not objects yet.
        return sorted(
            key for key in keys if key.startswith(prefix) and not Path(key).name.startswith(".tmp-")
        )

    def delete(self, key: str) -> None:
        """Remove one object; nothing happens if it does not exist."""
        try:
            self._files.rm_file(self._path(key))
        except FileNotFoundError:
            return
        except FAILURES as error:
            raise self._error("delete", key, error) from error

    def check(self) -> None:
        """Prove that objects can be written, created once only, read, listed and deleted.

        Raises:
            StoreError: one of these does not work; names it.
        """
        key = f"checks/{uuid.uuid4().hex}"
        if not self.create(key, b"first"):
            raise StoreError(f"store {self.url}: a new object {key} seems to exist")
        try:
            if self.create(key, b"second"):
                raise StoreError(
                    f"store {self.url}: it lets two writers create the same object,"
                    " so one of two racing attempts would not be kept"
                )
            if self.get(key) != b"first" or self.list("checks/").count(key) != 1:
                raise StoreError(f"store {self.url}: {key} does not read as it was written")
        finally:
            self.delete(key)

    def _error(self, verb: str, key: str, error: Exception) -> StoreError:
        hint = ""
        if self.remote:
            hint = "; check the bucket, AWS_ENDPOINT_URL and the credentials"
        return StoreError(f"store {self.url}: cannot {verb} {key}: {error}{hint}")


def _s3_code(error: BaseException | None) -> str | None:
    """The error code that S3 answered with; s3fs wraps it in an OSError."""
    while error is not None:
        if isinstance(error, ClientError):
            return str(error.response.get("Error", {}).get("Code"))
        error = error.__cause__
    return None


def _place(path: Path, value: bytes, *, replace: bool) -> None:
    """Write beside the target, flush to disk, then rename or link: readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)

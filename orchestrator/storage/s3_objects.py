"""Objects in S3: the only module that uses fsspec for the store."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, cast

import fsspec

from orchestrator.storage.objects import Entry
from orchestrator.storage.retry import FAILURES, s3_code

S3_CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 60,
    "retries": {"mode": "standard", "max_attempts": 2},
}
"""Settings of botocore; s3fs makes five attempts on top, with exponential backoff."""
PART_BYTES = 16 * 2**20
"""The size of the parts in which a large object is uploaded; S3 permits 10,000 of them."""


@dataclass(frozen=True)
class S3Objects:
    """The objects below ``BUCKET[/PREFIX]``.

    Credentials, endpoint and region come from the usual AWS chain (environment, profile, instance).
    """

    root: str

    @cached_property
    def _files(self) -> Any:
        """The file system of s3fs, which has no types."""
        # Listings are not cached: other drivers and workers write to the same prefix. Without
        # concurrent ranges, a read is one request.
        return cast("Any", fsspec).filesystem(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=1,
            config_kwargs=S3_CLIENT,
        )

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}"

    def put(self, key: str, value: bytes) -> None:
        self._files.pipe_file(self._path(key), value)

    def put_stream(self, key: str, write: Callable[[BinaryIO], object]) -> None:
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
        """Write an object by a conditional PUT (``If-None-Match: *``).

        A server that does not know the condition writes the object in any case.
        """
        try:
            self._files.pipe_file(self._path(key), value, mode="create")
        except FileExistsError:
            return False
        except FAILURES as error:
            if s3_code(error) == "PreconditionFailed":
                return False
            if s3_code(error) != "NotImplemented":
                raise
            self.put(key, value)
        return True

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(key))

    def exists(self, key: str) -> bool:
        bucket, _, path = self._path(key).partition("/")
        try:
            self._files.call_s3("head_object", Bucket=bucket, Key=path)
        except FileNotFoundError:
            return False
        return True

    def get(self, key: str) -> bytes:
        try:
            value: bytes = self._files.cat_file(self._path(key))
        except FileNotFoundError:
            raise KeyError(key) from None
        return value

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """Return several objects by key, without absent ones; they are read concurrently."""
        if not keys:
            return {}
        paths = [self._path(key) for key in keys]
        # cat() would take *, ? and [ in a path for a pattern.
        values: list[object] = self._files.cat_ranges(paths, None, None, on_error="return")
        for value in values:
            if isinstance(value, BaseException) and not isinstance(value, FileNotFoundError):
                raise value
        present = zip(keys, values, strict=True)
        return {key: value for key, value in present if isinstance(value, bytes)}

    def opened(self, key: str) -> BinaryIO:
        """Return a temporary file with the content of an object; the caller closes it."""
        file = tempfile.NamedTemporaryFile(prefix="segprint-")  # noqa: SIM115
        try:
            self._files.get_file(self._path(key), file.name)
        except BaseException as error:
            file.close()
            if isinstance(error, FileNotFoundError):
                raise KeyError(key) from None
            raise
        return cast("BinaryIO", file)

    def keys(self, prefix: str) -> list[str]:
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        try:
            listing: dict[str, dict[str, Any]] = self._files.find(self._path(prefix), detail=True)
        except FileNotFoundError:
            return []
        start = len(self.root) + 1
        entries = [
            Entry(path[start:], int(info["size"]), info["LastModified"])
            for path, info in listing.items()
            if path[start:].startswith(prefix) and info["type"] == "file"
        ]
        return sorted(entries, key=lambda entry: entry.key)

    def unfinished(self) -> list[Entry]:
        return []  # S3 drops the parts of an upload that was not completed

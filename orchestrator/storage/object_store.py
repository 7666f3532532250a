"""Objects by key, in a local directory or in S3.

Writes are whole or absent, and every call is retried while the store is away. Credentials,
endpoint and region come from the usual AWS chain (environment, profile, instance), never from a
URL.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from orchestrator.storage.local_objects import LocalObjects
from orchestrator.storage.objects import Entry, Objects
from orchestrator.storage.retry import FAILURES, with_retries
from orchestrator.storage.s3_objects import S3Objects

AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f]|%[0-9a-fA-F]{2}")
"""What deltalake decodes once more than it encodes, or what no path can hold."""
Result = TypeVar("Result")


class StoreError(OSError):
    """The store cannot be reached, read or written."""


@dataclass(frozen=True)
class Store:
    """A flat space of objects below ``url``; picklable, it connects where it is used.

    A call that fails in a way that may pass (503, a lost connection, a full disk) is retried for
    ``patience`` seconds, with exponential backoff and full jitter; one that keeps failing raises
    :class:`StoreError`.

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

    @cached_property
    def _objects(self) -> Objects:
        root = self.url.removeprefix("s3://").rstrip("/")
        return S3Objects(root) if self.remote else LocalObjects(root)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "patience": self.patience}  # without the connection

    def patient(self, seconds: float) -> Store:
        """Return the same store with another patience."""
        return replace(self, patience=seconds)

    def local_path(self, key: str) -> Path | None:
        """Return the file of an object; None if the store is remote."""
        return self._objects.path(key) if isinstance(self._objects, LocalObjects) else None

    # -- writing ------------------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        """Write or replace one object."""
        _refuse_outside(key)
        self._call("write", key, lambda: self._objects.put(key, value))

    def put_stream(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        """Write or replace one large object; ``write`` writes its content to a file, in order.

        At most :data:`~orchestrator.storage.s3_objects.PART_BYTES` of it, or one write, are held in
        memory. The object before stays readable until this one is whole. ``write`` is called again
        where the upload fails.
        """
        _refuse_outside(key)
        self._call("write", key, lambda: self._objects.put_stream(key, write))

    def create(self, key: str, value: bytes) -> bool:
        """Write one object unless it exists; return whether it now has this value.

        On S3 this is a conditional PUT after a look: a server that ignores the condition can be
        fooled only by two writers within the same milliseconds, and then keeps one of the two,
        whole. A write whose answer was lost is found to be there.
        """
        _refuse_outside(key)
        taken = self._call("look for", key, lambda: self._objects.exists(key))
        if not taken and self._created(key, value):
            return True
        try:
            return self.get(key) == value
        except KeyError:  # deleted since
            return False

    def _created(self, key: str, value: bytes) -> bool:
        """Create an object without a look; return whether this call wrote it."""
        return self._call("write", key, lambda: self._objects.create(key, value))

    def delete(self, key: str) -> None:
        """Delete one object; nothing happens if it does not exist."""
        _refuse_outside(key)
        self._call("delete", key, lambda: self._objects.delete(key))

    # -- reading ------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """Return the bytes of one object.

        Raises:
            KeyError: there is no such object.
        """
        _refuse_outside(key)
        return self._call("read", key, lambda: self._objects.get(key))

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """Return several objects by key, without absent ones; S3 is read concurrently."""
        for key in keys:
            _refuse_outside(key)
        # A directory is read file by file: a failure names its file, and the others are not read
        # again.
        batches = [keys] if self.remote else [[key] for key in keys]
        values: dict[str, bytes] = {}
        for batch in batches:
            what = batch[0] if len(batch) == 1 else f"{len(batch)} objects"
            values |= self._call("read", what, partial(self._objects.get_many, batch))
        return values

    @contextlib.contextmanager
    def open(self, key: str) -> Generator[BinaryIO]:
        """Open one large object for reading; one of S3 is downloaded to a temporary file.

        Raises:
            KeyError: there is no such object.
        """
        _refuse_outside(key)
        with self._call("read", key, lambda: self._objects.opened(key)) as file:
            yield file

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a prefix that ends in ``/``, sorted."""
        return self._call("list", prefix, lambda: self._objects.keys(prefix))

    def entries(self, prefix: str) -> list[Entry]:
        """Return the objects below a prefix that ends in ``/``, sorted by key."""
        return self._call("list", prefix, lambda: self._objects.entries(prefix))

    def unfinished(self) -> list[Entry]:
        """Return the files that killed writers left in a directory; S3 drops its own."""
        return self._objects.unfinished()

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
        with ThreadPoolExecutor(len(values)) as pool:
            winners = sum(pool.map(partial(self._created, key), values))
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

    def _call(self, verb: str, what: str, call: Callable[[], Result]) -> Result:
        """Make a call, with retries.

        Raises:
            StoreError: the call keeps failing; says what failed and why.
        """
        try:
            return self.with_retries(verb, what, call)
        except FAILURES as error:
            raise self.error(verb, what, error) from error

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


def _refuse_outside(key: str) -> None:
    """Raise unless a key is below the store; some keys are put together from stored text.

    Raises:
        ValueError: a folder in the key is ``..``.
    """
    if ".." in key.split("/"):
        raise ValueError(f"key {key!r} must not hold the folder '..', which leaves the store")

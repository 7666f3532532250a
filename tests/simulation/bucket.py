"""An S3 bucket in memory: what the store asks of s3fs, with a request for each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from botocore.exceptions import ClientError

ROOT = "simulated/"
URL = f"s3://{ROOT}".rstrip("/")
STALE_SECONDS = 10.0
"""How far a stale listing is behind."""
Result = TypeVar("Result")


class Network(Protocol):
    """Carries requests to the bucket, and may lose, repeat or delay them."""

    now: float

    def request(self, what: str, key: str, call: Callable[[], Result]) -> Result: ...

    def stale(self) -> bool: ...


@dataclass(frozen=True)
class Object:
    """A stored object, and the true time at which it was written."""

    value: bytes
    at: float


@dataclass
class Bucket:
    """The file system of a store; see s3fs for what its methods do."""

    network: Network
    conditional: bool = True
    """Whether ``If-None-Match`` is respected; else several creators of an object win."""
    objects: dict[str, Object] = field(default_factory=dict[str, Object])
    changes: int = 0
    """How often an object was written or deleted."""

    # -- without faults -----------------------------------------------------------------------

    def write(self, key: str, value: bytes, *, create: bool = False) -> bool:
        """Write an object; return False if it had to be absent and is not."""
        if create and self.conditional and key in self.objects:
            return False
        self.objects[key] = Object(value, self.network.now)
        self.changes += 1
        return True

    def remove(self, key: str) -> None:
        """Delete an object."""
        self.changes += self.objects.pop(key, None) is not None

    def keys(self, prefix: str) -> list[str]:
        """List keys; a stale listing lacks what was written in the last seconds."""
        oldest = self.network.now - STALE_SECONDS if self.network.stale() else self.network.now
        return sorted(k for k, o in self.objects.items() if k.startswith(prefix) and o.at <= oldest)

    # -- what the store calls -----------------------------------------------------------------

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite") -> None:
        key = path.removeprefix(ROOT)
        create = mode == "create"
        if not self.network.request("put", key, lambda: self.write(key, value, create=create)):
            raise failure("PreconditionFailed")

    def cat_file(self, path: str) -> bytes:
        key = path.removeprefix(ROOT)
        found = self.network.request("get", key, lambda: self.objects.get(key))
        if found is None:
            raise FileNotFoundError(key)
        return found.value

    def cat_ranges(self, paths: list[str], *_: None, on_error: str) -> list[bytes | Exception]:
        assert on_error == "return"
        keys = [path.removeprefix(ROOT) for path in paths]
        found = self.network.request("get", keys[0], lambda: [self.objects.get(k) for k in keys])
        return [FileNotFoundError() if o is None else o.value for o in found]

    def find(self, path: str, *, detail: bool) -> dict[str, dict[str, Any]]:
        assert detail
        prefix = path.removeprefix(ROOT)
        keys = self.network.request("list", prefix, lambda: self.keys(prefix))
        return {
            ROOT + key: {
                "type": "file",
                "size": len(self.objects[key].value),
                "LastModified": datetime.fromtimestamp(self.objects[key].at, UTC),
            }
            for key in keys
        }

    def rm_file(self, path: str) -> None:
        key = path.removeprefix(ROOT)
        self.network.request("delete", key, lambda: self.remove(key))

    def call_s3(self, call: str, *, Bucket: str, Key: str) -> None:
        assert call == "head_object"
        key = f"{Bucket}/{Key}".removeprefix(ROOT)
        if not self.network.request("head", key, lambda: key in self.objects):
            raise FileNotFoundError(key)


def failure(code: str) -> OSError:
    """Return an error as s3fs raises it."""
    error = OSError(code)
    error.__cause__ = ClientError({"Error": {"Code": code}}, "PutObject")
    return error

"""What was last committed to a table, as its committer wrote it beside the log: a check on that.

A log is a listing of files, so one that lost its end looks like a shorter one. A seal may lag
behind the log, if a committer was killed; a log that is behind its seal has lost something.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from orchestrator.storage.object_store import Store

ROOT = "tables/"


@dataclass(frozen=True)
class File:
    """One data file of a table."""

    key: str
    size: int
    rows: int


@dataclass(frozen=True)
class Seal:
    """One version of a log; ``content`` is a hash over its numbers and files."""

    log: str
    version: int
    content: str
    serial: int
    folded: int

    def contradicts(self, sealed: Seal) -> bool:
        """Whether a log that says this cannot be what was sealed; it may have grown since.

        A seal of another log says nothing: somebody wrote it late, after a rebuild.
        """
        if self.log != sealed.log or self.version > sealed.version:
            return False
        return self != sealed

    def numbers(self, log: str, version: int, files: Sequence[File]) -> tuple[int, int] | None:
        """Serial and batch of a log that is as sealed; it takes long to look for them there."""
        same = (log, version) == (self.log, self.version)
        same = same and content_hash(self.serial, self.folded, files) == self.content
        return (self.serial, self.folded) if same else None


def content_hash(serial: int, folded: int, files: Sequence[File]) -> str:
    """Over all that a version of a table is."""
    listed = sorted((f.key, f.size, f.rows) for f in files)
    return hashlib.sha256(json.dumps([serial, folded, listed]).encode()).hexdigest()


def key(name: str) -> str:
    """Where a table's seal rests."""
    return f"{ROOT}{name}.json"


def read(store: Store, name: str) -> Seal | None:
    """None if there is none, or a damaged one, which says nothing about the log."""
    try:
        plain = json.loads(store.get(key(name)))
        log, content = str(plain["log"]), str(plain["content"])
        version, serial, folded = (int(plain[k]) for k in ("version", "serial", "folded"))
        return Seal(log, version, content, serial, folded)
    except (KeyError, ValueError, TypeError):
        return None


def write(store: Store, name: str, seal: Seal) -> None:
    """After a commit."""
    store.put(key(name), json.dumps(asdict(seal)).encode())

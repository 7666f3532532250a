"""The seal of a table's log: a copy of its last commit, which shows whether the log lost one.

A Delta log is a listing of files, so a log that lost its end looks like a shorter log. A seal may
be behind its log, if a committer was killed before it wrote the seal; a log that is behind its
seal has lost something. Before a log is deleted, its seal says so: what is left of the log after a
killed deletion is not an earlier version of the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.storage.object_store import Store

ROOT = "tables/"
CONTENT, FOLLOWS = "segprint.content", "segprint.follows"
"""Fields of a log entry: the content hash of the version that it makes, and of the one before."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table: its key, its size in bytes and its rows."""

    key: str
    size: int
    rows: int


@dataclass(frozen=True)
class Seal:
    """A version of a log."""

    log: str
    """The log's id, which a rebuilt log does not share."""
    version: int
    content: str
    """The :func:`content_hash` of this version."""
    serial: int
    """The number of our commits so far."""
    batch: int
    """The number of the last batch in the table."""
    members: int = field(default=0, compare=False)
    """A hash of that batch's attempts; 0 where an earlier Segprint wrote it."""

    @staticmethod
    def of_dropped(log: str) -> Seal:
        """Return the seal of a log that is being deleted."""
        return Seal(log, -1, "", 0, 0)

    @property
    def dropped(self) -> bool:
        """Whether the log is being deleted."""
        return self.version < 0

    def contradicts(self, sealed: Seal) -> bool:
        """Whether a log at this version cannot have been at the sealed one.

        The log may have grown since. A seal of another log contradicts nothing: it was written
        late, after a rebuild.
        """
        if self.log != sealed.log or self.version > sealed.version:
            return False
        return self != sealed

    def numbers(
        self, log: str, version: int, files: Sequence[DataFile]
    ) -> tuple[int, int, int] | None:
        """Return serial, batch and members of a log that is as sealed, else None.

        To read these from the log itself takes much longer.
        """
        same = (log, version) == (self.log, self.version)
        same = same and content_hash(self.serial, self.batch, files) == self.content
        return (self.serial, self.batch, self.members) if same else None


def unbroken(
    sealed: Seal | None, entries: Iterable[Mapping[str, Any] | None], content: str
) -> bool:
    """Whether each log entry follows the content that the entry before it made.

    ``entries`` are those after ``sealed``, or all without a seal, oldest first; ``content`` is the
    hash of the version that is read. Entries of a changed schema and of earlier Segprints have no
    hashes, and an entry may be absent (None) once a checkpoint holds it: these prove nothing.
    """
    before = sealed.content if sealed else None
    for entry in entries:
        if entry is None:
            before = None
        elif CONTENT in entry:
            if before not in (None, entry.get(FOLLOWS)):
                return False
            before = str(entry[CONTENT])
        elif entry.get("operation") == "WRITE":
            before = None
    return before in (None, content)


def content_hash(serial: int, batch: int, files: Sequence[DataFile]) -> str:
    """Return a hash over the content of a table's version."""
    listed = sorted((f.key, f.size, f.rows) for f in files)
    return hashlib.sha256(json.dumps([serial, batch, listed]).encode()).hexdigest()


def key(name: str) -> str:
    """Return where a table's seal is stored."""
    return f"{ROOT}{name}.json"


def read(store: Store, name: str) -> Seal | None:
    """Return a table's seal; None if it is missing or damaged, which proves nothing."""
    try:
        content = json.loads(store.get(key(name)))
        log, content_sha256 = str(content["log"]), str(content["content"])
        version, serial, batch = (int(content[k]) for k in ("version", "serial", "folded"))
        members = int(content.get("members", 0))
        return Seal(log, version, content_sha256, serial, batch, members)
    except (KeyError, ValueError, TypeError):
        return None


def write(store: Store, name: str, seal: Seal) -> None:
    """Write a table's seal, after a commit."""
    content = {
        "log": seal.log,
        "version": seal.version,
        "content": seal.content,
        "serial": seal.serial,
        "folded": seal.batch,
        "members": seal.members,
    }
    store.put(key(name), json.dumps(content).encode())

"""Commit records: what makes an attempt visible, and which attempt of a digest counts.

``commits/DIGEST.OUTCOME[-ATTEMPT].json`` is written last and names the attempt's objects with
their hashes and row counts. There is at most one per digest and outcome (one per attempt for
failures), created only if absent, so the first complete attempt wins and a late duplicate is
never read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainables.schemas import ABOUT, SCHEMA_VERSION, Outcome

RANK: tuple[Outcome, ...] = ("finished", "diverged", "pruned", "failed")
"""Where a digest has several commits, the first of these is read."""
PREFIX = "commits/"


class DamagedError(ValueError):
    """An object of the store is missing or is not what was committed."""


class NewerError(DamagedError):
    """A newer Segprint wrote this: nothing is wrong with it."""


@dataclass(frozen=True)
class Commit:
    """One committed attempt, as its key tells."""

    digest: str
    outcome: Outcome
    key: str

    @staticmethod
    def key_of(digest: str, outcome: str, attempt: str) -> str:
        """Failures are noted one by one; of any other outcome, a digest has one."""
        suffix = f"-{attempt}" if outcome == "failed" else ""
        return f"{PREFIX}{digest}.{outcome}{suffix}.json"

    @staticmethod
    def parse(key: str) -> Commit | None:
        """None if the key is not one of a commit record."""
        name = key.removeprefix(PREFIX).removesuffix(".json")
        digest, _, rest = name.partition(".")
        outcome = rest.partition("-")[0]
        return Commit(digest, outcome, key) if outcome in RANK else None


def counted(commits: Iterable[Commit]) -> dict[str, Commit]:
    """Of several commits of a digest, the one that is read; keys in rising order."""
    found: dict[str, Commit] = {}
    for commit in commits:
        best = found.get(commit.digest)
        if best is None or RANK.index(commit.outcome) <= RANK.index(best.outcome):
            found[commit.digest] = commit
    return found


@dataclass(frozen=True)
class StoredTable:
    """One object of an attempt: the rows of one table."""

    table: str
    key: str
    sha256: str
    rows: int
    size: int


@dataclass(frozen=True)
class Record:
    """A commit record's content."""

    key: str
    digest: str
    attempt: str
    outcome: str
    schema: int
    committed_at: str
    about: dict[str, str | None]
    """Values of :data:`trainables.schemas.ABOUT`; empty before schema 3."""
    parts: dict[str, StoredTable]

    def dump(self) -> bytes:
        """As stored, with a hash over everything else."""
        plain: dict[str, Any] = {
            "digest": self.digest,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "schema": self.schema,
            "committed_at": self.committed_at,
            "about": self.about,
            "tables": {
                name: {"key": p.key, "sha256": p.sha256, "rows": p.rows, "size": p.size}
                for name, p in self.parts.items()
            },
        }
        plain["sha256"] = _hash(plain)
        return json.dumps(plain, indent=1, sort_keys=True).encode()

    @staticmethod
    def load(key: str, value: bytes) -> Record:
        """Read a record.

        Raises:
            DamagedError: it does not parse, is not what was written, or comes from a newer
                Segprint.
        """
        try:
            plain: dict[str, Any] = json.loads(value)
            written = plain.pop("sha256", None)
            if written is None and plain["schema"] >= 3:
                raise ValueError("it has lost its hash")
            if written is not None and written != _hash(plain):
                raise ValueError("its content and its hash differ")
            parts = {
                name: StoredTable(name, p["key"], p["sha256"], p["rows"], p.get("size", 0))
                for name, p in plain.pop("tables").items()
            }
            about: dict[str, str | None] = plain.pop("about", {})
            record = Record(key=key, about=about, parts=parts, **plain)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{key}: the commit record is damaged: {error}") from None
        if record.schema > SCHEMA_VERSION:
            raise NewerError(
                f"{key}: written with schema {record.schema}, this Segprint knows"
                f" {SCHEMA_VERSION}: update it"
            )
        return record


def load_record(key: str, value: bytes) -> Record | DamagedError:
    """A record, or what is wrong with it."""
    try:
        return Record.load(key, value)
    except DamagedError as error:
        return error


def about(trial: dict[str, Any]) -> dict[str, str | None]:
    """What every row of an attempt says of its trial."""
    return {name: trial.get(name) for name in ABOUT}


def _hash(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

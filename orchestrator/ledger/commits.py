"""Commit records: they make attempts visible and decide which attempt of a digest counts.

``commits/DIGEST.OUTCOME[-ATTEMPT].json`` is written after the attempt's objects and names them
with their hashes and row counts. A digest has at most one record per outcome (failures: one per
attempt), and a record is created only if it is absent: the first complete attempt counts, and a
later duplicate is never read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.storage.object_store import Store
from trainables.schemas import ABOUT, SCHEMA_VERSION, Outcome

RANK: tuple[Outcome, ...] = ("finished", "diverged", "pruned", "failed")
"""The order of precedence: of several commits of a digest, the first outcome here counts."""
PREFIX = "commits/"
Labels = dict[str, str | None]
"""Values of the columns :data:`trainables.schemas.ABOUT`, which every row of a trial repeats."""


class DamagedError(ValueError):
    """An object of the store is missing or is not what was committed."""


class NewerError(DamagedError):
    """A newer Segprint wrote the object, so that this one cannot read it; it is not damaged."""


class MisplacedError(DamagedError):
    """A commit record is under the key of another commit."""

    def __init__(self, record: Record) -> None:
        super().__init__(f"{record.key}: it holds {record.digest} {record.outcome}")
        self.record = record


@dataclass(frozen=True)
class Commit:
    """A committed attempt, as far as the key of its record shows it."""

    digest: str
    outcome: Outcome
    key: str

    @staticmethod
    def key_of(digest: str, outcome: str, attempt: str) -> str:
        """Return the key of a record; only failures have one per attempt."""
        suffix = f"-{attempt}" if outcome == "failed" else ""
        return f"{PREFIX}{digest}.{outcome}{suffix}.json"

    @staticmethod
    def parse(key: str) -> Commit | None:
        """Read a key; None if it is not the key of a commit record."""
        name = key.removeprefix(PREFIX).removesuffix(".json")
        digest, _, rest = name.partition(".")
        outcome = rest.partition("-")[0]
        return Commit(digest, outcome, key) if outcome in RANK else None


def list_commits(store: Store) -> list[Commit]:
    """Return every commit of a store, sorted by key. One listing, no reads."""
    return [commit for key in store.list(PREFIX) if (commit := Commit.parse(key)) is not None]


def counted(commits: Iterable[Commit]) -> dict[str, Commit]:
    """Return the commit that counts for each digest, from commits sorted by key."""
    best: dict[str, Commit] = {}
    for commit in commits:
        other = best.get(commit.digest)
        if other is None or RANK.index(commit.outcome) <= RANK.index(other.outcome):
            best[commit.digest] = commit
    return best


def outcome_of(store: Store, digest: str, among: Iterable[Outcome]) -> Outcome | None:
    """Return the first of some outcomes, failures excepted, that a digest is committed with."""
    for outcome in among:
        try:
            store.get(Commit.key_of(digest, outcome, attempt=""))
        except KeyError:
            continue
        return outcome
    return None


@dataclass(frozen=True)
class StoredTable:
    """The object that holds an attempt's rows of one table."""

    table: str
    key: str
    sha256: str
    rows: int
    size: int
    """Bytes; 0 where an early record does not give it."""


@dataclass(frozen=True)
class Record:
    """The content of a commit record."""

    key: str
    digest: str
    attempt: str
    outcome: str
    schema: int
    """The :data:`trainables.schemas.SCHEMA_VERSION` of the rows."""
    committed_at: str
    labels: Labels
    """Empty before schema 3."""
    tables: dict[str, StoredTable]

    @property
    def objects(self) -> str:
        """A hash over the names, rows and hashes of the attempt's objects."""
        return _hash({name: [t.sha256, t.rows] for name, t in self.tables.items()})

    def dump(self) -> bytes:
        """Return the record as it is stored, with a hash over all other fields."""
        content: dict[str, Any] = {
            "digest": self.digest,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "schema": self.schema,
            "committed_at": self.committed_at,
            "about": self.labels,
            "tables": {
                name: {"key": t.key, "sha256": t.sha256, "rows": t.rows, "size": t.size}
                for name, t in self.tables.items()
            },
        }
        content["sha256"] = _hash(content)
        return json.dumps(content, indent=1, sort_keys=True).encode()

    @staticmethod
    def load(key: str, value: bytes) -> Record:
        """Read a record.

        Raises:
            DamagedError: it does not parse, does not match its hash, is under the key of another
                commit, or comes from a newer Segprint.
        """
        try:
            content: dict[str, Any] = json.loads(value)
            stored_hash = content.pop("sha256", None)
            if stored_hash is None and content["schema"] >= 3:
                raise ValueError("its hash is missing")
            if stored_hash is not None and stored_hash != _hash(content):
                raise ValueError("its content and its hash differ")
            tables = {
                name: StoredTable(name, t["key"], t["sha256"], t["rows"], t.get("size", 0))
                for name, t in content.pop("tables").items()
            }
            labels: Labels = content.pop("about", {})
            record = Record(key=key, labels=labels, tables=tables, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{key}: the commit record is damaged: {error}") from None
        if record.schema > SCHEMA_VERSION:
            raise NewerError(
                f"{key}: written with schema {record.schema}, this Segprint knows"
                f" {SCHEMA_VERSION}: update it"
            )
        if Commit.key_of(record.digest, record.outcome, record.attempt) != key:
            raise MisplacedError(record)
        return record


def load_record(key: str, value: bytes) -> Record | DamagedError:
    """Read a record; return the error instead of raising it."""
    try:
        return Record.load(key, value)
    except DamagedError as error:
        return error


def labels_of(trial: Mapping[str, Any]) -> Labels:
    """Return the labels that a row of the ``trials`` table gives to all rows of its attempt."""
    return {name: trial.get(name) for name in ABOUT}


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

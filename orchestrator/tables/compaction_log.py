"""The log of compactions: numbered batches of attempts, and the attempts that the tables hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from orchestrator.ledger.commits import Commit, DamagedError, Record, load_record
from orchestrator.ledger.parquet import read_parquet
from orchestrator.storage.object_store import Store
from orchestrator.tables import file_cache
from orchestrator.tables.delta_log import TableVersion
from orchestrator.tables.log_seal import ROOT
from trainables.schemas import SCHEMAS

PREFIX = f"{ROOT}batches/"
TABLES = (*(name for name in SCHEMAS if name != "trials"), "trials")
"""The order in which tables receive a batch."""


@dataclass(frozen=True)
class Batch:
    """The attempts that one compaction appends to the tables."""

    number: int
    at: str
    """When it was put together."""
    members: dict[str, str]
    """The attempt of each commit, by the commit's key."""
    objects: dict[str, str] = field(default_factory=dict[str, str])
    """The hash of each attempt's objects (:attr:`orchestrator.ledger.commits.Record.objects`), by
    the commit's key; empty in batches of earlier Segprints."""

    @staticmethod
    def key(number: int) -> str:
        """Return where the batch of a number is stored."""
        return f"{PREFIX}{number:08d}.json"

    def dump(self) -> bytes:
        """Return the batch as it is stored, with a hash over all other fields."""
        return json.dumps({**vars(self), "sha256": _hash(vars(self))}, indent=1).encode()

    @property
    def members_hash(self) -> int:
        """A positive number of 60 bits, which tells batches of other attempts apart."""
        return int(_hash(self.members)[:15], 16) or 1

    @staticmethod
    def load(key: str, value: bytes) -> Batch:
        """Read a batch.

        Raises:
            DamagedError: it does not parse, or does not match its hash.
        """
        try:
            content = json.loads(value)
            if content.pop("sha256") != _hash(content):
                raise ValueError("its content and its hash differ")
            number, at = int(content["number"]), str(content["at"])
            if Batch.key(number) != key:
                raise ValueError(f"it is batch {number}")
            return Batch(number, at, dict(content["members"]), dict(content.get("objects", {})))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{key}: the batch is damaged ({error}); run `segprint tables rebuild`"
            ) from None


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def batches(store: Store) -> list[Batch]:
    """Return all batches, in order.

    Raises:
        DamagedError: one of them is damaged.
    """
    values = store.get_many(store.list(PREFIX))
    return [Batch.load(key, values[key]) for key in sorted(values)]


def missing_numbers(known: Sequence[Batch]) -> list[int]:
    """Return the numbers of the batches that are lost: a later one is there."""
    numbers = {batch.number for batch in known}
    return [n for n in range(1, max(numbers, default=0)) if n not in numbers]


def pending_attempts(store: Store, last: int) -> dict[str, str]:
    """Return the attempts of the batches after ``last``, which a committer began and did not end.

    A damaged batch is left out: ``segprint tables check`` names it.
    """
    keys = [key for key in store.list(PREFIX) if key > Batch.key(last)]
    attempts: dict[str, str] = {}
    for key, value in store.get_many(keys).items():
        with contextlib.suppress(DamagedError):
            attempts |= Batch.load(key, value).members
    return attempts


def compacted_attempts(store: Store, trials: TableVersion) -> dict[str, str]:
    """Return the attempts in a version of the ``trials`` table, by the key of their commit.

    Of several attempts of one key, as a store that was merged from two may hold, the one that the
    commit record names is returned; a key whose record names none of them is left out.

    Raises:
        DamagedError: one of its files is missing or damaged, or an attempt is in it twice.
    """
    attempts: dict[str, list[str]] = {}
    for path in file_cache.paths(store, trials.files):
        try:
            rows = read_parquet(path, ["digest", "outcome", "attempt"])
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedError(f"{path.name}: {error}; run `segprint tables rebuild`") from None
        for digest, outcome, attempt in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            attempts.setdefault(Commit.key_of(digest, outcome, attempt), []).append(attempt)
    for key, several in attempts.items():
        if len(several) != len(set(several)):
            raise DamagedError(
                f"{ROOT}trials: it has the attempt of {key} twice; run `segprint tables rebuild`"
            )
    return {
        key: attempt
        for key, attempt in _decided(store, attempts).items()
        if attempt in attempts[key]
    }


def _decided(store: Store, attempts: Mapping[str, list[str]]) -> dict[str, str]:
    """Return one attempt per key; of several, the one in the commit record if it can be read."""
    decided = {key: min(several) for key, several in attempts.items()}
    contested = [key for key, several in attempts.items() if len(several) > 1]
    for key, value in store.get_many(contested).items():
        record = load_record(key, value)
        if isinstance(record, Record):
            decided[key] = record.attempt
    return decided

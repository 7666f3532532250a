"""What was folded when: the numbered batches, and the attempts that the tables have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.commits import Commit, DamagedError
from orchestrator.storage.object_store import Store
from orchestrator.tables import file_cache
from orchestrator.tables.delta_log import ROOT, TableVersion

PREFIX = f"{ROOT}batches/"


@dataclass(frozen=True)
class Batch:
    """What one fold took: the attempt of each commit by its key, and when it was put together."""

    number: int
    at: str
    members: dict[str, str]

    @staticmethod
    def key(number: int) -> str:
        """Where a batch of this number rests."""
        return f"{PREFIX}{number:08d}.json"

    def dump(self) -> bytes:
        """As stored."""
        return json.dumps({**vars(self), "sha256": _hash(vars(self))}, indent=1).encode()

    @staticmethod
    def load(key: str, value: bytes) -> Batch:
        """Read a batch.

        Raises:
            DamagedError: it does not parse.
        """
        try:
            plain = json.loads(value)
            if plain.pop("sha256") != _hash(plain):
                raise ValueError("its content and its hash differ")
            return Batch(int(plain["number"]), str(plain["at"]), dict(plain["members"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{key}: the batch is damaged ({error}); run `segprint tables rebuild`"
            ) from None


def _hash(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def batches(store: Store) -> list[Batch]:
    """All batches, in order.

    Raises:
        DamagedError: one of them does not parse.
    """
    found = store.get_many(store.list(PREFIX))
    return [Batch.load(key, found[key]) for key in sorted(found)]


def folded(store: Store, trials: TableVersion) -> dict[str, str]:
    """Attempts that a state of the ``trials`` table has, by the key of their commit.

    Raises:
        DamagedError: a file of it is missing or damaged.
    """
    found: dict[str, str] = {}
    for path in file_cache.paths(store, trials.files):
        try:
            rows: Any = pq.read_table(path, columns=["digest", "outcome", "attempt"])
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedError(f"{path.name}: {error}; run `segprint tables rebuild`") from None
        for digest, outcome, attempt in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            found[Commit.key_of(digest, outcome, attempt)] = attempt
    return found

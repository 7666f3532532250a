"""Failed attempts: how many there are, and which ones ran out of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.ledger.commits import Commit, DamagedError, Record, list_commits, load_record
from orchestrator.ledger.parquet import decode
from orchestrator.storage.object_store import Store

OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "can't allocate memory", "memory pressure")
"""Texts in the reason of a failure which show that the memory was exhausted."""


def out_of_memory(reason: str | None) -> bool:
    """Whether a trial ran out of memory, so that smaller microbatches may fit.

    >>> out_of_memory("OutOfMemoryError: CUDA out of memory (step, line 9)")
    True
    >>> out_of_memory("ValueError: no such mask"), out_of_memory(None)
    (False, False)
    """
    return reason is not None and any(text in reason for text in OUT_OF_MEMORY)


@dataclass(frozen=True)
class FailedAttempts:
    """The failed attempts of a store."""

    store: Store

    def counts(self, commits: Iterable[Commit] | None = None) -> dict[str, int]:
        """Return the number of failed attempts of each digest that has one.

        ``commits`` saves the listing of all commits.
        """
        listed = list_commits(self.store) if commits is None else commits
        return Counter(c.digest for c in listed if c.outcome == "failed")

    def microbatch_factors(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the factor on the configured number of microbatches, by digest.

        The factor doubles with each attempt that ran out of memory. A failure whose objects are
        damaged has no known reason and does not count.
        """
        factors = dict.fromkeys(digests, 1)
        commits = list_commits(self.store)
        keys = [c.key for c in commits if c.outcome == "failed" and c.digest in factors]
        loaded = [load_record(key, value) for key, value in self.store.get_many(keys).items()]
        records = [record for record in loaded if isinstance(record, Record)]
        values = self.store.get_many([record.tables["trials"].key for record in records])
        for record in records:
            trials = record.tables["trials"]
            with suppress(DamagedError):
                rows = decode(trials, values.get(trials.key), record, record.labels)
                factors[record.digest] *= 1 + out_of_memory(rows["reason"][0].as_py())
        return factors

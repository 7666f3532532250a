"""The ledger: declared trials, committed attempts and runs in flight, over one store.

Keys below the store's root::

    studies/STUDY/space.json                            the question, and the current revision
    studies/STUDY/note.json                             note, tags, retired
    studies/STUDY/REVISION/CELL/STAGE-INDEX-DIGEST.json one declared trial
    studies/STUDY/REVISION/HASH.parquet                 many trials that were declared at once
    trials/DIGEST/ATTEMPT/TABLE.parquet                 an attempt's rows, immutable
    commits/DIGEST.OUTCOME[-ATTEMPT].json               makes an attempt visible
    weights/TRAINING.json                               the record of a training
    weights/TRAINING/HASH.safetensors                   its weights, written before the record
    checkpoints/DIGEST.pt, leases/DIGEST.json           of a run in flight
    drivers/STUDY/NUMBER.json                           which process drives a study
    quarantine/                                         damaged commits, and notes on deleted ones
    doctor.json                                         the measured rate of conditional writes
    tables/                                             the committed rows, compacted for speed

:meth:`Ledger.commit` writes rows. ``tables/`` is derived from the other keys
(:mod:`orchestrator.tables`). After the loss of a node, ``leases/`` shows which runs it
interrupted, ``checkpoints/`` where they go on, and :class:`FailedAttempts` how often they failed;
:mod:`orchestrator.sweep` decides what is run again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import pyarrow as pa

from orchestrator.ledger import signs_of_life
from orchestrator.ledger.checkpoints import PREFIX as CHECKPOINTS
from orchestrator.ledger.checkpoints import Checkpoints
from orchestrator.ledger.commits import (
    Commit,
    Record,
    counted,
    labels_of,
    list_commits,
    outcome_of,
)
from orchestrator.ledger.failed_attempts import FailedAttempts
from orchestrator.ledger.leases import PREFIX as LEASES
from orchestrator.ledger.leases import Leases
from orchestrator.ledger.parquet import encode
from orchestrator.ledger.studies import Studies
from orchestrator.ledger.weights import WeightsStore
from orchestrator.storage.object_store import Store
from trainables.schemas import SCHEMA_VERSION, Outcome, Row

SLEPT_SECONDS = 3600.0
"""A process that took longer for a commit slept meanwhile, perhaps for days."""


@dataclass(frozen=True)
class Ledger:
    """Everything that is declared, committed or in flight below one store.

    Copies that are sent to workers keep the ``holder`` of leases; a ledger that is opened again has
    another one.
    """

    store: Store
    holder: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)

    @cached_property
    def studies(self) -> Studies:
        """The declared trials of each study, and people's notes."""
        return Studies(self.store)

    @cached_property
    def leases(self) -> Leases:
        """The runs in flight."""
        return Leases(self.store, self.holder)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of runs in flight."""
        return Checkpoints(self.store)

    @cached_property
    def weights(self) -> WeightsStore:
        """The weights of finished trainings."""
        return WeightsStore(self.store)

    @cached_property
    def failed_attempts(self) -> FailedAttempts:
        """The attempts that failed."""
        return FailedAttempts(self.store)

    def commits(self) -> dict[str, Commit]:
        """Return the commit that counts for each committed digest. One listing, no reads."""
        return counted(list_commits(self.store))

    def done(self, digest: str) -> Outcome | None:
        """Return how a config ended if it is finished or diverged: it is not trained again."""
        return outcome_of(self.store, digest, ("finished", "diverged"))

    def commit(
        self, digest: str, outcome: Outcome, tables: Mapping[str, Sequence[Row] | pa.Table]
    ) -> bool:
        """Write an attempt's rows, one object per table, and then its commit record.

        The attempt is invisible until the record is written. Returns whether the attempt counts:
        it does not if another one was committed first with the same outcome. The checkpoint is
        deleted unless the attempt failed, because the next attempt resumes from it.

        Raises:
            ValueError: a row does not fit its table's schema; nothing is committed.
        """
        attempt = f"{datetime.now(UTC):%Y%m%dT%H%M%S}{uuid.uuid4().hex[:8]}"
        trial = tables["trials"]
        labels = labels_of(trial.to_pylist()[0] if isinstance(trial, pa.Table) else trial[0])
        key = {"digest": digest, "attempt": attempt, **labels}
        encoded = [encode(name, rows, key) for name, rows in tables.items() if len(rows)]
        started = signs_of_life.now()
        for table, value in encoded:
            self.store.put(table.key, value)
        record = Record(
            key=Commit.key_of(digest, outcome, attempt),
            digest=digest,
            attempt=attempt,
            outcome=outcome,
            schema=SCHEMA_VERSION,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            labels=labels,
            tables={table.table: table for table, _ in encoded},
        )
        counts = self.store.create(record.key, record.dump())
        if counts and signs_of_life.now() - started > SLEPT_SECONDS:
            for table, value in encoded:  # a vacuum may have taken them for those of a dead writer
                self.store.put(table.key, value)
        if outcome != "failed":
            self.checkpoints.delete(digest)
        self.leases.release(digest)
        return counts

    def delete_leftovers(self, wanted: set[str], alive_seconds: float) -> None:
        """Delete checkpoints and leases of ended runs.

        A process that is killed between its commit record and its clean-up leaves them behind.
        Pruned runs are spared if they are ``wanted``, or if their lease is younger than
        ``alive_seconds``: they may be trained further.
        """
        alive = {digest for digest, age in self.leases.ages().items() if age < alive_seconds}
        ended = {d for d, c in self.commits().items() if c.outcome != "failed"} - wanted
        for prefix in (CHECKPOINTS, LEASES):
            for key in self.store.list(prefix):
                digest = key.removeprefix(prefix).partition(".")[0]
                if digest in ended and (digest not in alive or self.done(digest) is not None):
                    self.store.delete(key)

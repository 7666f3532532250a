"""The connection of a running trial to the ledger."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.ledger.commits import outcome_of
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.weights import Retention
from trainables.schemas import Outcome, Tables
from trainables.training.run_status import RunStatus

if TYPE_CHECKING:  # it imports torch, which commands that only read the store do without
    from trainables.checkpoint import Checkpoint
    from trainables.training.trained import Trained


@dataclass(frozen=True)
class LedgerSink:
    """A :class:`trainables.training.sink.Sink` that writes to a ledger; workers receive it."""

    ledger: Ledger
    code: str
    """The version of the code that runs (:func:`orchestrator.provenance.code_version`)."""
    retention: Retention = field(default_factory=Retention)
    """Which weights are kept."""
    trains: bool = True
    """Whether networks are trained whose weights are not kept; else their trials fail."""

    def done(self, digest: str) -> Outcome | None:
        return self.ledger.done(digest)

    def pruned(self, digest: str) -> bool:
        return outcome_of(self.ledger.store, digest, ("pruned",)) is not None

    def resume(self, digest: str) -> Checkpoint | None:
        self.ledger.leases.acquire(digest)
        return self.ledger.checkpoints.load(digest)

    def checkpoint(self, digest: str) -> Checkpoint | None:
        return self.ledger.checkpoints.load(digest, "meta")

    def keep(self, digest: str, checkpoint: Checkpoint, status: RunStatus | None = None) -> None:
        self.ledger.checkpoints.save(digest, checkpoint)
        self.ledger.leases.acquire(digest, status)

    def alive(self, digest: str, status: RunStatus | None = None) -> None:
        """Renew the lease without retries: the next heartbeat comes soon."""
        replace(self.ledger, store=self.ledger.store.patient(0)).leases.renew(digest, status)

    def weights(self, training: str) -> Trained | None:
        from trainables.training.trained import WeightsError

        try:
            trained = self.ledger.weights.load(training)
            if trained is None and not self.trains:
                raise WeightsError(f"weights of training {training} are not kept")
            return trained
        except WeightsError as error:
            if not self.trains:
                raise
            warnings.warn(f"{error}; training again", stacklevel=2)
            return None

    def keep_weights(self, trained: Trained) -> Trained:
        return self.ledger.weights.keep(trained, self.retention)

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.ledger.commit(digest, outcome, tables)

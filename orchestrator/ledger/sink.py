"""The connection of a running trial to the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.ledger.ledger import Ledger
from trainables.schemas import Outcome, Tables


@dataclass(frozen=True)
class LedgerSink:
    """A :class:`trainables.training.attempt.Sink` that writes to a ledger; workers receive it."""

    ledger: Ledger
    code: str
    """The version of the code that runs (:func:`orchestrator.provenance.code_version`)."""

    def done(self, digest: str) -> Outcome | None:
        return self.ledger.done(digest)

    def resume(self, digest: str) -> bytes | None:
        self.ledger.leases.acquire(digest)
        return self.ledger.checkpoints.load(digest)

    def checkpoint(self, digest: str) -> bytes | None:
        return self.ledger.checkpoints.load(digest)

    def keep(self, digest: str, checkpoint: bytes) -> None:
        self.ledger.checkpoints.save(digest, checkpoint)
        self.ledger.leases.acquire(digest)

    def alive(self, digest: str) -> None:
        """Renew the lease without retries: the next heartbeat comes soon."""
        replace(self.ledger, store=self.ledger.store.patient(0)).leases.renew(digest)

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.ledger.commit(digest, outcome, tables)

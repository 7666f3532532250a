"""Leases: which process trains a digest, and when it last renewed its lease.

``leases/DIGEST.json`` is written when a process starts or resumes a run, renewed while the run
makes progress, and deleted when the run is committed; it says how far the run is. A lease does not
exclude anybody: a second process that trains the same digest wastes work, and its commit is not
counted. Displays take a run whose lease is old, or whose process is known to be dead, as
interrupted. A sweep kills a run only when it has not seen the lease change for long on its own
clock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.ledger.commits import outcome_of
from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.storage.object_store import Store
from trainables.training.run_status import RunStatus

PREFIX = "leases/"


@dataclass(frozen=True)
class Lease:
    """The content of a lease."""

    process: ProcessIdentity
    holder: str | None
    """The :class:`orchestrator.ledger.ledger.Ledger` that the run commits to."""
    at: float
    """When it was last renewed, in seconds since 1970."""
    status: RunStatus | None = None
    """How far the run was then."""

    def dump(self) -> bytes:
        """Return the lease as it is stored."""
        content = {**self.process.fields(), "holder": self.holder, "at": self.at}
        if self.status is not None:
            content["status"] = self.status.plain()
        return json.dumps(content).encode()

    @staticmethod
    def load(value: bytes) -> Lease | None:
        """Read a lease; a damaged one counts as none."""
        try:
            content = json.loads(value)
            process = ProcessIdentity.parse(content)
            status = RunStatus.parse(content.get("status"))
            return Lease(process, content.get("holder"), float(content["at"]), status)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def age(self) -> float:
        """Seconds since it was last renewed."""
        return _now() - self.at


@dataclass(frozen=True)
class Leases:
    """The leases of a store, as one ``holder`` reads and writes them."""

    store: Store
    holder: str

    @staticmethod
    def key(digest: str) -> str:
        """Return where the lease of a digest is stored."""
        return f"{PREFIX}{digest}.json"

    def acquire(self, digest: str, status: RunStatus | None = None) -> None:
        """Write a lease of the calling process, whoever had one before."""
        lease = Lease(ProcessIdentity.current(), self.holder, _now(), status)
        self.store.put(self.key(digest), lease.dump())

    def renew(self, digest: str, status: RunStatus | None = None) -> None:
        """Renew the lease of the calling process, unless the run ended or another one took it over.

        A worker that was cut off from the cluster may still run after another worker took over its
        trial. A lease that was deleted although nothing is committed is written again.
        """
        lease = self._load(digest)
        if lease is None:
            wanted = outcome_of(self.store, digest, ("finished", "diverged", "pruned")) is None
        else:
            process = ProcessIdentity.current()
            wanted = (lease.process, lease.holder) == (process, self.holder)
        if wanted:
            self.acquire(digest, status)

    def release(self, digest: str) -> None:
        """Delete the lease of this holder or of a dead process.

        The lease of a living process that trains the same digest for another study stays.
        """
        lease = self._load(digest)
        if lease is None or lease.holder in (None, self.holder) or lease.process.dead():
            self.store.delete(self.key(digest))

    def ages(self) -> dict[str, float]:
        """Return the age in seconds of the lease of each run that may be in flight, by digest."""
        return {d: lease.age for d, lease in self.all().items() if not lease.process.dead()}

    def all(self) -> dict[str, Lease]:
        """Return every lease by digest, also those of runs whose process is dead."""
        values = self.store.get_many(self.store.list(PREFIX))
        leases = {
            key.removeprefix(PREFIX).removesuffix(".json"): Lease.load(value)
            for key, value in values.items()
        }
        return {digest: lease for digest, lease in leases.items() if lease is not None}

    def held(self, digest: str) -> Lease | None:
        """Return the lease of a run; None if there is none, or its process is dead."""
        lease = self._load(digest)
        return None if lease is None or lease.process.dead() else lease

    def _load(self, digest: str) -> Lease | None:
        try:
            return Lease.load(self.store.get(self.key(digest)))
        except KeyError:
            return None


def _now() -> float:
    return datetime.now(UTC).timestamp()

"""The ledger: what was declared, what is committed, and every row that counts.

Keys below the store's root::

    studies/STUDY/space.json                            the question, and its current revision
    studies/STUDY/REVISION/CELL/STAGE-INDEX-DIGEST.json one declared trial
    studies/STUDY/REVISION/HASH.parquet                 many, declared at once
    trials/DIGEST/ATTEMPT/TABLE.parquet                 an attempt's rows, immutable
    commits/DIGEST.OUTCOME[-ATTEMPT].json               what makes an attempt visible
    checkpoints/DIGEST.pt, leases/DIGEST.json           of a run in flight
    drivers/STUDY/NUMBER.json                           who drives a study
    tables/                                             what is committed, folded for speed

All but ``tables/`` is the truth; that is made from it, and can be made again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from orchestrator.ledger import failed_attempts, parquet
from orchestrator.ledger.commits import (
    PREFIX,
    RANK,
    Commit,
    DamagedError,
    Record,
    counted,
    load_record,
)
from orchestrator.ledger.commits import about as about_row
from orchestrator.ledger.process_identity import dead, myself
from orchestrator.ledger.studies import Studies
from orchestrator.storage.object_store import Store
from trainables.schemas import SCHEMA_VERSION, Outcome, Tables


@dataclass(frozen=True)
class Ledger:
    """Reads and writes of results, over one store.

    Copies that travel to workers are the same ``holder`` of leases; whoever opens the store anew
    is another one.
    """

    store: Store
    holder: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)

    @cached_property
    def studies(self) -> Studies:
        """What was asked."""
        return Studies(self.store)

    # -- what happened ------------------------------------------------------------------------

    def commits(self) -> dict[str, Commit]:
        """The commit that counts, for every digest that has one. One listing, no reads."""
        return counted(filter(None, map(Commit.parse, self.store.list(PREFIX))))

    def failures(self) -> dict[str, int]:
        """How many attempts at each digest failed."""
        count: dict[str, int] = {}
        for key in self.store.list("commits/"):
            digest, _, rest = key.removeprefix("commits/").partition(".")
            if rest.startswith("failed"):
                count[digest] = count.get(digest, 0) + 1
        return count

    def splits(self, digests: Iterable[str]) -> dict[str, int]:
        """In how many times more parts than configured the batches of some configs are passed:
        twice as many for each attempt that failed for want of memory.
        """
        found = dict.fromkeys(digests, 1)
        commits = filter(None, map(Commit.parse, self.store.list(PREFIX)))
        failed = [c.key for c in commits if c.outcome == "failed" and c.digest in found]
        loaded = [load_record(*item) for item in self.store.get_many(failed).items()]
        sound = [record for record in loaded if isinstance(record, Record)]
        values = self.store.get_many([record.parts["trials"].key for record in sound])
        for record in sound:
            part = record.parts["trials"]
            with suppress(DamagedError):  # nobody can tell why it failed
                rows = parquet.decode(part, values.get(part.key), record, record.about)
                found[record.digest] *= 1 + failed_attempts.out_of_memory(rows["reason"][0].as_py())
        return found

    def done(self, digest: str) -> Outcome | None:
        """Whether a config is finished or diverged: there is nothing more to train."""
        return self._ended(digest, RANK[:2])

    def _ended(self, digest: str, outcomes: Iterable[Outcome] = RANK[:3]) -> Outcome | None:
        """The first of some outcomes that a digest is committed with."""
        for outcome in outcomes:
            try:
                self.store.get(f"commits/{digest}.{outcome}.json")
            except KeyError:
                continue
            return outcome
        return None

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> bool:
        """Write an attempt's tables, then its commit record; whether it is the one that counts.

        Raises:
            ValueError: a row does not fit its table's schema; nothing is committed.
        """
        attempt = f"{datetime.now(UTC):%Y%m%dT%H%M%S}{uuid.uuid4().hex[:8]}"
        about = about_row(dict(tables["trials"][0]))
        key = {"digest": digest, "attempt": attempt, **about}
        encoded = [parquet.encode(name, rows, key) for name, rows in tables.items() if rows]
        for part, value in encoded:
            self.store.put(part.key, value)
        record = Record(
            key=Commit.key_of(digest, outcome, attempt),
            digest=digest,
            attempt=attempt,
            outcome=outcome,
            schema=SCHEMA_VERSION,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            about=about,
            parts={part.table: part for part, _ in encoded},
        )
        won = self.store.create(record.key, record.dump())
        if outcome != "failed":  # what failed is tried again, from where it was
            self.store.delete(f"checkpoints/{digest}.pt")
        self.release(digest)
        return won

    # -- what is in flight --------------------------------------------------------------------

    def checkpoint(self, digest: str) -> bytes | None:
        """The newest checkpoint of a run in flight."""
        try:
            return self.store.get(f"checkpoints/{digest}.pt")
        except KeyError:
            return None

    def keep(self, digest: str, checkpoint: bytes) -> None:
        """Replace the checkpoint of a run in flight, and renew its lease."""
        self.store.put(f"checkpoints/{digest}.pt", checkpoint)
        self.lease(digest)

    def lease(self, digest: str) -> None:
        """Say that somebody works on this digest now."""
        about = {**myself(), "holder": self.holder, "at": datetime.now(UTC).timestamp()}
        self.store.put(f"leases/{digest}.json", json.dumps(about).encode())

    def renew(self, digest: str) -> None:
        """Renew this process's lease, unless the run has ended or is another process's by now.

        A worker that lost its node may live on for a while beside the one that took its trial over.
        A lease that is gone, though nothing is committed, is taken again: the run gets on.
        """
        about = self._lease(digest)
        mine = {**myself(), "holder": self.holder, "at": about.get("at")}
        if about == mine or (not about and self._ended(digest) is None):
            self.lease(digest)

    def release(self, digest: str) -> None:
        """Say that this holder does not work on this digest any more; its checkpoint stays.

        The lease of another one, who works on the same config for another study, stays too.
        """
        about = self._lease(digest)
        if about.get("holder", self.holder) == self.holder or dead(about):
            self.store.delete(f"leases/{digest}.json")

    def _lease(self, digest: str) -> dict[str, Any]:
        """What a lease says; nothing if there is none, or none that can be read."""
        try:
            about = json.loads(self.store.get(f"leases/{digest}.json"))
        except (KeyError, ValueError):
            return {}
        return cast("dict[str, Any]", about) if isinstance(about, dict) else {}

    def leases(self) -> dict[str, float]:
        """Seconds since each run in flight last gave a sign of life."""
        names = [k.removeprefix("leases/") for k in self.store.list("leases/")]
        ages = {name.removesuffix(".json"): self.lease_age(name[:-5]) for name in names}
        return {digest: age for digest, age in ages.items() if age is not None}

    def lease_age(self, digest: str) -> float | None:
        """Seconds since one run last gave a sign of life; None if nobody can be working on it.

        The process of a lease may be known to be dead.
        """
        about = self._lease(digest)
        try:
            age = datetime.now(UTC).timestamp() - float(about["at"])
        except (KeyError, ValueError, TypeError):
            return None
        return None if dead(about) else age

    def tidy(self, wanted: set[str], alive_seconds: float) -> None:
        """Drop what a kill between a commit record and its clean-up left behind.

        Spared: digests that are ``wanted``, and runs whose lease is younger than ``alive_seconds``.
        """
        alive = {d for d, age in self.leases().items() if age < alive_seconds}
        ended = {d for d, c in self.commits().items() if c.outcome != "failed"} - wanted
        for key in [*self.store.list("checkpoints/"), *self.store.list("leases/")]:
            digest = key.partition("/")[2].partition(".")[0]
            finished = digest in ended and self.done(digest) is not None
            if finished or digest in ended - alive:
                self.store.delete(key)


@dataclass(frozen=True)
class LedgerSink:
    """The :class:`trainables.training.attempt.Sink` of a trial: it travels to the worker."""

    ledger: Ledger
    code: str

    def done(self, digest: str) -> Outcome | None:
        return self.ledger.done(digest)

    def resume(self, digest: str) -> bytes | None:
        self.ledger.lease(digest)
        return self.ledger.checkpoint(digest)

    def checkpoint(self, digest: str) -> bytes | None:
        return self.ledger.checkpoint(digest)

    def keep(self, digest: str, checkpoint: bytes) -> None:
        self.ledger.keep(digest, checkpoint)

    def alive(self, digest: str) -> None:
        replace(self.ledger, store=self.ledger.store.patient(0)).renew(digest)

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.ledger.commit(digest, outcome, tables)

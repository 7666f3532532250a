"""The ledger: what was declared, what is committed, and every row that counts.

Keys below the store's root::

    studies/STUDY/space.json                            the question, and its current revision
    studies/STUDY/REVISION/CELL/STAGE-INDEX-DIGEST.json one declared trial
    trials/DIGEST/ATTEMPT/TABLE.parquet                 an attempt's rows, immutable
    commits/DIGEST.OUTCOME[-ATTEMPT].json               what makes an attempt visible
    checkpoints/DIGEST.pt, leases/DIGEST.json           of a run in flight

The commit record is written last and names the attempt's objects with their hashes and row
counts. There is at most one per digest and outcome (one per attempt for failures), created only
if absent, so the first complete attempt wins and a late duplicate is never read.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.store import Store
from trainables.record import SCHEMA_VERSION, SCHEMAS, Outcome, Tables, to_arrow

RANK: tuple[Outcome, ...] = ("finished", "diverged", "pruned", "failed")
"""Where a digest has several commits, the first of these is read."""


class DamagedError(ValueError):
    """A committed object is missing or is not what its commit record says."""


@dataclass(frozen=True)
class Commit:
    """One committed attempt, as its key tells."""

    digest: str
    outcome: Outcome
    key: str


@dataclass(frozen=True)
class Declared:
    """One trial of a study, as its key tells.

    A study whose space, data or formulas changed has a new revision: results of the old one stay,
    and are not averaged with those of the new.
    """

    study: str
    revision: str
    cell: str
    stage: str
    index: int
    digest: str

    @property
    def key(self) -> str:
        """Where it rests."""
        place = f"studies/{self.study}/{self.revision}/{self.cell}"
        return f"{place}/{self.stage}-{self.index:04d}-{self.digest}.json"


@dataclass(frozen=True)
class Ledger:
    """Reads and writes of results, over one store."""

    store: Store

    # -- what happened ------------------------------------------------------------------------

    def commits(self) -> dict[str, Commit]:
        """The commit that counts, for every digest that has one. One listing, no reads."""
        found: dict[str, Commit] = {}
        for key in self.store.list("commits/"):
            digest, outcome, _ = key.removeprefix("commits/").replace("-", ".").split(".", 2)
            commit = Commit(digest, cast("Outcome", outcome), key)
            best = found.get(digest)
            if best is None or RANK.index(commit.outcome) <= RANK.index(best.outcome):
                found[digest] = commit
        return found

    def failures(self) -> dict[str, int]:
        """How many attempts at each digest failed."""
        count: dict[str, int] = {}
        for key in self.store.list("commits/"):
            digest, _, rest = key.removeprefix("commits/").partition(".")
            if rest.startswith("failed"):
                count[digest] = count.get(digest, 0) + 1
        return count

    def done(self, digest: str) -> Outcome | None:
        """Whether a config is finished or diverged: there is nothing more to train."""
        for outcome in RANK[:2]:
            try:
                self.store.get(f"commits/{digest}.{outcome}.json")
            except KeyError:
                continue
            return outcome
        return None

    def table(self, name: str, digests: Iterable[str] | None = None) -> pa.Table:
        """Rows of one table, over all counted attempts or those of some digests.

        Raises:
            DamagedError: an object's hash or row count is not what was committed.
        """
        commits = self.commits()
        wanted = commits if digests is None else [d for d in digests if d in commits]
        records = self.store.get_many([commits[d].key for d in wanted])
        parts = [
            part
            for record in records.values()
            for part in [json.loads(record)["tables"].get(name)]
            if part is not None
        ]
        try:
            objects = self.store.get_many([part["key"] for part in parts])
        except KeyError as error:
            raise DamagedError(f"a committed object is missing: {error}") from None
        tables = [_verified(part, objects[part["key"]]) for part in parts]
        return pa.concat_tables([SCHEMAS[name].empty_table(), *tables])

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> bool:
        """Write an attempt's tables, then its commit record; whether it is the one that counts."""
        attempt = f"{datetime.now(UTC):%Y%m%dT%H%M%S}{uuid.uuid4().hex[:8]}"
        parts: dict[str, dict[str, Any]] = {}
        for name, rows in tables.items():
            if not rows:
                continue
            sink = io.BytesIO()
            table = to_arrow(name, rows, digest, attempt)
            pq.write_table(table, sink, compression="zstd")
            key = f"trials/{digest}/{attempt}/{name}.parquet"
            self.store.put(key, sink.getvalue())
            sha256 = hashlib.sha256(sink.getvalue()).hexdigest()
            parts[name] = {"key": key, "sha256": sha256, "rows": len(rows)}
        record = {
            "digest": digest,
            "attempt": attempt,
            "outcome": outcome,
            "schema": SCHEMA_VERSION,
            "committed_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "tables": parts,
        }
        name = f"{outcome}-{attempt}" if outcome == "failed" else outcome
        won = self.store.create(f"commits/{digest}.{name}.json", _json(record))
        if outcome != "failed":  # what failed is tried again, from where it was
            self.store.delete(f"checkpoints/{digest}.pt")
        self.store.delete(f"leases/{digest}.json")
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
        self.store.put(f"leases/{digest}.json", _json({"at": datetime.now(UTC).timestamp()}))

    def leases(self) -> dict[str, float]:
        """Seconds since each run in flight last gave a sign of life."""
        now = datetime.now(UTC).timestamp()
        found: dict[str, float] = {}
        for key in self.store.list("leases/"):
            try:
                at = json.loads(self.store.get(key))["at"]
            except KeyError:  # committed between the listing and the read
                continue
            found[key.removeprefix("leases/").removesuffix(".json")] = now - at
        return found

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

    # -- what was asked -----------------------------------------------------------------------

    def declare(self, declared: Declared, about: dict[str, Any]) -> None:
        """Note that a study wants this trial; the first word for a place in the study stands."""
        self.store.create(declared.key, _json(about))

    def declared(self, study: str | None = None, revision: str | None = None) -> list[Declared]:
        """Trials of one study or of all, of one revision or of all, in order; one listing."""
        prefix = "/".join(["studies", *filter(None, (study, revision)), ""])
        found: list[Declared] = []
        for key in self.store.list(prefix):
            path = key.removesuffix(".json").split("/")
            if len(path) == 5:
                stage, index, digest = path[4].split("-")
                found.append(Declared(path[1], path[2], path[3], stage, int(index), digest))
        return found

    def current(self, study: str | None = None) -> list[Declared]:
        """Trials of the current revision of one study, or of every study."""
        found: list[Declared] = []
        for name in [study] if study else sorted({d.study for d in self.declared()}):
            try:
                about = json.loads(self.store.get(f"studies/{name}/space.json"))
            except KeyError:  # no sweep of this study has started
                continue
            found += self.declared(name, about["revision"])
        return found

    def about(self, declared: Iterable[Declared]) -> dict[str, dict[str, Any]]:
        """What was written with each declaration, by key."""
        objects = self.store.get_many([d.key for d in declared])
        return {key: json.loads(value) for key, value in objects.items()}

    def describe(self, study: str, about: dict[str, Any]) -> None:
        """Keep a study's question beside its trials."""
        self.store.put(f"studies/{study}/space.json", _json(about))


@dataclass(frozen=True)
class LedgerSink:
    """The :class:`trainables.attempt.Sink` of a trial: it travels to the worker."""

    ledger: Ledger
    code: str

    def done(self, digest: str) -> Outcome | None:
        return self.ledger.done(digest)

    def resume(self, digest: str) -> bytes | None:
        self.ledger.lease(digest)
        return self.ledger.checkpoint(digest)

    def keep(self, digest: str, checkpoint: bytes) -> None:
        self.ledger.keep(digest, checkpoint)

    def commit(self, digest: str, outcome: Outcome, tables: Tables) -> None:
        self.ledger.commit(digest, outcome, tables)


def _verified(part: dict[str, Any], value: bytes) -> pa.Table:
    """Decode an object after checking it against its commit record."""
    found = hashlib.sha256(value).hexdigest()
    if found != part["sha256"]:
        raise DamagedError(f"{part['key']}: sha256 is {found}, was committed as {part['sha256']}")
    table = pq.read_table(io.BytesIO(value))
    if table.num_rows != part["rows"]:
        raise DamagedError(f"{part['key']}: {table.num_rows} rows, {part['rows']} were committed")
    return table


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()

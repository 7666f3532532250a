"""The oracle: a checker of what processes were answered and what readers then see.

It knows which attempts were acknowledged, but not how the ledger keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger.commits import RANK
from orchestrator.ledger.parquet import read_parquet
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction_log, delta_log, integrity
from orchestrator.tables.snapshot import Snapshot
from trainables.schemas import Outcome


@dataclass(frozen=True)
class Attempt:
    """An attempt that a process committed; its rows carry the number."""

    number: int
    digest: str
    outcome: Outcome
    rows: int


@dataclass
class History:
    """What happened to one store."""

    acknowledged: set[Attempt] = field(default_factory=set[Attempt])
    """Attempts that count, as their process was answered."""
    uncertain: set[Attempt] = field(default_factory=set[Attempt])
    """Attempts whose process died, or whose store was away, during the commit."""
    batches: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    """The attempts of each batch that the tables were seen to have."""
    deleted: set[str] = field(default_factory=set[str])
    """The digests of trials that were deleted, which a rebuild leaves out of batches."""
    exact: bool = True
    """Whether tables are undamaged; else damage must be named, and a rebuild must cure it."""

    def copy(self) -> History:
        return History(
            set(self.acknowledged),
            set(self.uncertain),
            dict(self.batches),
            set(self.deleted),
            exact=self.exact,
        )

    def merge(self, other: History) -> None:
        """Note that another store was copied over this one."""
        self.acknowledged |= other.acknowledged
        self.uncertain |= other.uncertain
        self.deleted |= other.deleted
        self.uncertain |= other.uncertain
        self.deleted |= other.deleted
        self.batches.clear()
        self.exact = False

    # -- checks -------------------------------------------------------------------------------

    def check(self, store: Store) -> None:
        """Every acknowledged attempt is read once, and nothing is damaged."""
        snapshot = Snapshot(store)
        missing = self.missing(snapshot)
        assert not missing, f"acknowledged and not read: {missing}"
        damage = [f for f in integrity.Check(store, quick=True).run() if f.kind == "damage"]
        if self.exact:
            assert not snapshot.problems, snapshot.problems
            assert not damage, damage
            self._check_versions(store)
        else:
            assert damage or not snapshot.problems, "damage that a reader sees is not found"

    def missing(self, snapshot: Snapshot) -> set[str]:
        """Return the digests of acknowledged attempts that are not read.

        Raises:
            AssertionError: rows are read twice, or are not those of one attempt.
        """
        attempts = {attempt.number: attempt for attempt in self.acknowledged | self.uncertain}
        trials = dict[str, Attempt]()
        for row in _rows(snapshot, "trials", ["digest", "seed"]):
            assert row["digest"] not in trials, f"{row['digest']} is read twice"
            assert row["seed"] in attempts, f"{row['digest']}: an attempt that does not count"
            trials[row["digest"]] = attempts[row["seed"]]
        steps = dict[str, list[float]]()
        for row in _rows(snapshot, "steps", ["digest", "loss_sum"]):
            steps.setdefault(row["digest"], []).append(row["loss_sum"])
        for digest, read in trials.items():
            expected = [float(read.number)] * read.rows
            assert digest == read.digest
            if steps.get(digest, []) != expected:
                assert snapshot.problems, f"{digest}: {steps.get(digest)} steps, not {expected}"
                assert not steps.get(digest), f"{digest}: steps of several attempts"
        assert steps.keys() <= trials.keys() or snapshot.problems, "steps without a trial"
        short = {d for d, read in trials.items() if len(steps.get(d, [])) < read.rows}
        return {a.digest for a in self.acknowledged if not self._is_read(a, trials)} | short

    def _is_read(self, attempt: Attempt, trials: dict[str, Attempt]) -> bool:
        """Whether an attempt, or one that takes precedence over it, is read."""
        read = trials.get(attempt.digest)
        if read is None or RANK.index(read.outcome) > RANK.index(attempt.outcome):
            return False
        if read.outcome != attempt.outcome or attempt.outcome == "failed":
            return True
        return read in self.acknowledged

    def _check_versions(self, store: Store) -> None:
        """A batch that the tables have keeps its number and its attempts."""
        trials = delta_log.load(store, "trials")
        known = {b.number: b.members for b in compaction_log.batches(store)}
        assert sorted(known) == list(range(1, len(known) + 1)), "a version is lost"
        for number, members in self.batches.items():
            same = self._undeleted(known[number]) == self._undeleted(members)
            assert same, f"version {number} is another one"
        last = trials.batch if trials is not None else 0
        self.batches |= {number: m for number, m in known.items() if number <= last}

    def _undeleted(self, members: Mapping[str, str]) -> dict[str, str]:
        """Return the members of a batch whose trials were never deleted."""
        keys = {f"commits/{digest}." for digest in self.deleted}
        return {k: a for k, a in members.items() if not k.startswith(tuple(keys))}


def _rows(snapshot: Snapshot, name: str, columns: list[str]) -> Iterable[dict[str, Any]]:
    """Return the rows of a table as a snapshot attaches them to DuckDB, which is slow to start."""
    source = snapshot.source(name)
    tables = [source.recent.select(columns)]
    for path in source.files:
        rows = read_parquet(path, [*columns, "attempt"])
        counts = [attempt in source.attempts for attempt in rows["attempt"].to_pylist()]
        tables.append(rows.filter(counts).select(columns))
    return [row for table in tables for row in table.to_pylist()]

"""Processes that write, compact and read until struck, and attempts that show their damage."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import committer_lease, compaction, delta_commit
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from trainables.schemas import Outcome

FORKS = multiprocessing.get_context("forkserver")
"""Children of a clean process that has imported this already: they start in milliseconds."""
FORKS.set_forkserver_preload(
    ["orchestrator.tables.compaction", "orchestrator.ledger.ledger", "pandas", "pytest", "s3fs"]
)
CASES = 2


class Hand:
    """A child process that runs ``work``; its first argument ``tell`` sends a value to the test."""

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        self._heard, tells = FORKS.Pipe(duplex=False)
        self.process = FORKS.Process(target=_run, args=(dict(os.environ), work, tells, args))
        self.process.start()
        tells.close()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def strike(self, moment: Callable[[], bool], patience: float = 60) -> bool:
        """Kill it at a moment; whether that came before its work was done."""
        deadline = time.monotonic() + patience
        while not moment():
            assert time.monotonic() < deadline, "the moment did not come"
            self.process.join(0.002)  # releases the GIL, which the proxy's thread needs
            if not self.process.is_alive():
                return False
        self.kill()
        return True

    def next(self, patience: float = 60) -> Any:
        """Return the next value that the process sends."""
        assert self._heard.poll(patience), "it says nothing"
        return self._heard.recv()

    def told(self) -> list[Any]:
        """Return the values that it has sent so far."""
        said: list[Any] = []
        with contextlib.suppress(EOFError):  # its end
            while self._heard.poll():
                said.append(self._heard.recv())
        return said

    def rest(self, patience: float = 120) -> list[Any]:
        """Return the values that it sends until it ends."""
        said: list[Any] = []
        with contextlib.suppress(EOFError):
            while True:
                said.append(self.next(patience))
        self.process.join(patience)
        return said

    def done(self, patience: float = 120) -> list[Any]:
        """Return :meth:`rest` of a process that was not killed; its exit code must be 0."""
        said = self.rest(patience)
        assert self.process.exitcode == 0, said
        return said


def _run(env: dict[str, str], work: Callable[..., None], tells: Any, args: tuple[Any, ...]) -> None:
    os.environ.update(env)
    work(tells.send, *args)


def commit(ledger: Ledger, digest: str, mark: int, outcome: Outcome = "finished") -> bool:
    """An attempt whose every row carries its mark; the mark also says how many there are."""
    steps = [{"step": i, "loss_sum": float(mark), "loss_count": 1} for i in range(mark + 1)]
    cases = [{"case": f"c{i}", "tp": mark} for i in range(CASES)]
    trial = {"outcome": outcome, "task": f"task {digest[-1]}", "score": float(mark)}
    return ledger.commit(digest, outcome, {"trials": [trial], "steps": steps, "cases": cases})


def filled(store: Store, count: int, *, compacted: bool = True) -> dict[str, int]:
    """Commit so many attempts, each compacted by itself; what is to be read then."""
    expected = {f"d{i}": i for i in range(count)}
    for digest, mark in expected.items():
        commit(Ledger(store), digest, mark)
        if compacted:
            compaction.compact_committed(store)
    return expected


def marks(store: Store, *problems: str, damaged: bool = False) -> dict[str, int]:
    """The attempt that is read of each digest, by its mark: each whole, and each row once.

    ``problems``: what the reader must name, a part of each sentence; nothing else, unless it is
    known that something is ``damaged``.
    """
    snapshot = Snapshot(store)
    trials, steps, cases = (snapshot.table(n).to_pylist() for n in ("trials", "steps", "cases"))
    found = {row["digest"]: int(row["score"]) for row in trials}
    who = {row["attempt"]: (row["digest"], int(row["score"])) for row in trials}
    assert len(found) == len(who) == len(trials), "a digest is there twice"
    rows = Counter((r["attempt"], r["digest"], r["step"], r["loss_sum"]) for r in steps)
    assert rows == Counter((a, d, i, m) for a, (d, m) in who.items() for i in range(m + 1))
    rows = Counter((r["attempt"], r["digest"], r["case"], r["tp"]) for r in cases)
    assert rows == Counter((a, d, f"c{i}", m) for a, (d, m) in who.items() for i in range(CASES))
    told = "\n".join(snapshot.problems)
    assert damaged or len(snapshot.problems) == len(problems), told
    assert all(problem in told for problem in problems), told
    return found


def write(tell: Callable[[str], None], store: Store, prefix: str, count: int | None = None) -> None:
    """Commit so many attempts, or until struck; tells each that is committed."""
    ledger = Ledger(store)
    for i in itertools.count() if count is None else range(count):
        digest = f"{prefix}{i:03}"
        assert commit(ledger, digest, i % 3)
        tell(digest)


def race(tell: Callable[[bool], None], store: Store, digests: list[str], me: int, go: Any) -> None:
    """Commit the same digests as others, each at the same moment; tells whether mine counts."""
    ledger = Ledger(store)
    ledger.commits()  # connected
    for digest in digests:
        go.wait(60)
        tell(commit(ledger, digest, me))


def compact_once(_: object, store: Store) -> None:
    """Compact whatever there is, unless somebody else is at it."""
    compaction.compact_committed(store)


def compact_anyway(_: object, store: Store, go: Any) -> None:
    """Compact whatever there is, whoever else holds the lease."""
    committer_lease.LEASE_SECONDS = 0.0
    go.wait(60)
    compaction.compact_committed(store)


def merge_anyway(tell: Callable[[str], None], store: Store, go: Any) -> None:
    """Merge files, whoever else holds the lease; of two at once, one is refused."""
    committer_lease.LEASE_SECONDS = 0.0
    go.wait(60)
    try:
        compaction.merge_small_files(store)
    except delta_commit.ConflictError:
        tell("contested")


def rebuild_anyway(_: object, store: Store) -> None:
    """Make the tables anew."""
    committer_lease.LEASE_SECONDS = 0.0
    compaction.rebuild(store)


def read(tell: Callable[[int], None], store: Store, stop: Any) -> None:
    """Read again and again: what is committed before is there, once, and nothing else is."""
    ledger, last = Ledger(store), False
    while not last:
        last = stop.is_set()
        before = set(ledger.commits())
        found = set(marks(store))
        assert before <= found <= set(ledger.commits())
        tell(len(found))


def files(store: Store, under: str) -> int:
    """How many files there are, unfinished ones too."""
    return sum(len(found) for _, _, found in os.walk(Path(store.url) / under))


def found(store: Store) -> list[tuple[str, str, str]]:
    """What a check finds."""
    return [(f.kind, f.where, f.what) for f in Check(store).run()]

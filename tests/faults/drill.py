"""The drill: start a sweep, strike, run the same command again, and ask the ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.ledger import Ledger
from tests.conftest import ROOT

Moment = Callable[[Ledger], bool]


class Drill:
    """A study on disk, its ledger, and the command that must always complete it."""

    def __init__(
        self, folder: Path, space: Path, ledger: Ledger, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.ledger = folder, ledger
        self.space = folder / space.name.removeprefix("space_")
        self.space.write_text(space.read_text())
        self.env = {**os.environ, **(env or {}), "PYTHONPATH": str(ROOT)}
        self.strikes = 0

    def start(self) -> subprocess.Popen[bytes]:
        """The sweep as its own session, its output in a file."""
        self.log = self.folder / f"log-{self.strikes}"
        command = [sys.executable, "-m", "orchestrator.cli", "--store", self.ledger.store.url]
        with self.log.open("wb") as out:
            return subprocess.Popen(
                [*command, "sweep", str(self.space)],
                cwd=self.folder,
                env=self.env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def strike(self, moment: Moment, sig: signal.Signals, patience: float = 120) -> int | None:
        """Send a signal to a running sweep's driver at a moment; its exit code."""
        driver = self.start()
        deadline = time.monotonic() + patience
        while driver.poll() is None and not moment(self.ledger):
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)
        assert driver.poll() is None, "the sweep ended before the moment came"
        os.kill(driver.pid, sig)
        self.strikes += 1
        return driver.wait(timeout=60)

    def complete(self, patience: float = 300) -> float:
        """Run the command to its end; seconds it took."""
        began = time.monotonic()
        driver = self.start()
        code = driver.wait(timeout=patience)
        assert code == 0, self.log.read_text()[-3000:]
        return time.monotonic() - began

    def assert_whole(self, expected: Mapping[str, int]) -> None:
        """Every declared trial is committed, each row is there exactly once, nothing is left over.

        ``expected`` counts trials by stage.
        """
        declared = self.ledger.studies.current(self.space.stem)
        assert Counter(d.stage for d in declared) == expected
        commits = self.ledger.commits()
        assert {d.digest for d in declared} == set(commits)
        keys = [k.removeprefix("commits/") for k in self.ledger.store.list("commits/")]
        # A failed attempt is noted beside the one that then counts: what a kill may cost.
        ended = Counter(k.split(".")[0] for k in keys if ".failed-" not in k)
        assert set(ended.values()) == {1}, f"a digest was committed twice: {keys}"
        steps = self.ledger.table("steps").to_pylist()
        repeated = [k for k, n in Counter((r["digest"], r["step"]) for r in steps).items() if n > 1]
        assert repeated == []
        cases = self.ledger.table("cases").to_pylist()
        rows = Counter((r["digest"], r["split"], r["case"], r["class"]) for r in cases)
        assert set(rows.values()) <= {1}
        assert self.ledger.leases() == {}
        assert self.ledger.store.list("checkpoints/") == []


def commits(count: int) -> Moment:
    """When so many trials are committed."""
    return lambda ledger: len(ledger.store.list("commits/")) >= count


def checkpoint_beside(count: int) -> Moment:
    """When a trial has a checkpoint while so many are committed: somebody is in the middle."""
    return lambda ledger: (
        len(ledger.store.list("commits/")) >= count and bool(ledger.store.list("checkpoints/"))
    )

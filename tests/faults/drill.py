"""The drill: start a sweep, strike, run the same command again, and ask the ledger."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.cli import main
from orchestrator.ledger.driver_lock import current_driver
from orchestrator.ledger.ledger import Ledger
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Space
from tests.conftest import ROOT
from tests.faults.numbers import TABLE, Numbers, printed

PACED = Path(__file__).with_name("paced.py")
PATIENCE = 400
"""Seconds; a busy machine takes many times longer than a quiet one."""


class Step(NamedTuple):
    """A training step of one worker, as :mod:`tests.faults.paced` logs it."""

    pid: int
    trial: str
    cases: str
    """Identifies the step within the trial, and the worker's share of it."""


@dataclass
class Drill:
    """A study on disk, its ledger, and the command that must always complete it."""

    folder: Path
    space: Space
    ledger: Ledger
    name: str = "drill"
    on: str = "local"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.file = self.folder / "drilled.py"
        (self.folder / PACED.name).write_text(PACED.read_text())
        self.ask(self.space)
        self.began = time.monotonic()
        self.struck = self.began
        self.numbers = Numbers(self.name)
        self.drivers: list[subprocess.Popen[bytes]] = []
        self._committed: dict[str, int] = {}
        self.reached = 0

    def ask(self, space: Space) -> None:
        """Write the study's file."""
        self.space = space
        text = (
            f"from dataclasses import replace\n\nfrom search_spaces import *\n\nSPACE = {space!r}\n"
        )
        if space.search is not None:  # repr() leaves out what changes no result
            workers = f"replace(SPACE.search, workers={space.search.workers!r})"
            text += f"SPACE = replace(SPACE, search={workers})\n"
        self.file.write_text(text)

    # -- the command --------------------------------------------------------------------------

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """The sweep as its own session, its output in a file."""
        self.reached = len(self.steps())
        self.log = self.folder / f"log-{len(self.drivers)}"
        command = [sys.executable, "-m", "orchestrator.cli", "--store", self.ledger.store.url]
        where = ["--on", self.on, *self.options, *options]
        with self.log.open("wb") as out:
            self.driver = subprocess.Popen(
                [*command, "sweep", str(self.file), *where],
                cwd=self.folder,
                env={**os.environ, **self.env, "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.drivers.append(self.driver)
        return self.driver

    def kill(self) -> None:
        """End whatever still runs."""
        for driver in self.drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()

    def until(self, moment: Moment, patience: float = PATIENCE) -> None:
        """Wait for a moment of the running sweep."""
        deadline = time.monotonic() + patience
        while not moment(self):
            assert self.driver.poll() is None, f"ended too early:\n{self.said()}"
            assert time.monotonic() < deadline, f"the moment did not come:\n{self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        """The end of what the latest command printed."""
        return self.log.read_text()[-4000:]

    def end(self, patience: float = PATIENCE) -> int:
        """Wait until the latest command ends; its exit code."""
        try:
            return self.driver.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.driver.pid, signal.SIGKILL)
            raise AssertionError(f"it does not end:\n{self.said()}") from None

    # -- the strike ---------------------------------------------------------------------------

    def hit(self, act: Callable[[], object]) -> None:
        """Do some harm, noting what is committed now."""
        self._committed |= self._rows()
        self.reached = len(self.steps())
        self.struck = time.monotonic()
        act()

    def strike(self, moment: Moment, sig: signal.Signals) -> int:
        """Send a signal to a new sweep's driver at a moment; its exit code."""
        self.start()
        self.until(moment)
        self.hit(lambda: os.kill(self.driver.pid, sig))
        code = self.end(120)
        self.noticed()
        return code

    def noticed(self, *words: str) -> None:
        """Wait until the sweep has said so; with no word, it has ended by now."""
        self.until(lambda _: all(w in self.log.read_text() for w in words)) if words else None
        self.numbers.noticed = time.monotonic() - self.struck

    def complete(self) -> None:
        """Run the command to its end."""
        self.start()
        self.completes()

    def completes(self, code: int = 0) -> None:
        """The command that runs ends well."""
        assert self.end() == code, self.said()
        self.numbers.completed = time.monotonic() - self.struck

    # -- what there is ------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """All training steps of trials so far, in order."""
        try:
            text = (self.folder / "steps.log").read_text()
        except FileNotFoundError:
            return []
        found = (line.split() for line in text.splitlines(keepends=True) if line.endswith("\n"))
        return [Step(int(pid), trial, cases) for pid, trial, cases in found]

    def redone(self, workers: int = 1) -> int:
        """Steps done more than once."""
        counts = Counter((s.trial, s.cases) for s in self.steps())
        return sum(n - 1 for n in counts.values()) // workers

    def last(self, trial: str = "") -> int:
        """The process that did the last step (of a trial)."""
        return [s.pid for s in self.steps() if s.trial.startswith(trial)][-1]

    def status(self) -> Counter[str]:
        """What ``segprint status`` says from outside: trials by state."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            main(["--store", self.ledger.store.url, "status", str(self.file), "--json"])
        found = Counter[str]()
        for row in json.loads(out.getvalue()):
            found.update({k: v for k, v in row.items() if isinstance(v, int) and v})
        return found

    def wait_for_status(self, patience: float = 60, **expected: int) -> None:
        """Wait until `segprint status` shows these counts."""
        deadline = time.monotonic() + patience
        while any((status := self.status())[k] != n for k, n in expected.items()):
            assert time.monotonic() < deadline, f"{status}, not {expected}"
            time.sleep(0.2)

    def failures(self) -> dict[str, int]:
        """Failed attempts by digest."""
        return self.ledger.failed_attempts.counts()

    def _rows(self) -> dict[str, int]:
        """Rows per case and step of every committed trial."""
        counts = Counter[str]()
        for table in ("cases", "steps", "trials"):
            counts.update(Snapshot(self.ledger.store).table(table)["digest"].to_pylist())
        return dict(counts)

    def _doubled(self) -> int:
        keys = {
            "trials": ("digest",),
            "steps": ("digest", "step"),
            "cases": ("digest", "split", "case", "class"),
        }
        doubled = 0
        for table, key in keys.items():
            rows = Snapshot(self.ledger.store).table(table).to_pylist()
            doubled += len(rows) - len({tuple(row[k] for k in key) for row in rows})
        return doubled

    # -- the end ------------------------------------------------------------------------------

    def assert_whole(
        self,
        expected: Mapping[str, int],
        *,
        redone: int | None = None,
        workers: int = 1,
        given_up: int = 0,
    ) -> None:
        """Every declared trial is committed, each row is there exactly once, nothing is left over.

        ``expected`` counts trials by stage; at most ``redone`` steps were done again, by one worker
        of ``workers``.
        """
        now, numbers = self._rows(), self.numbers
        numbers.lost = sum(max(0, n - now.get(d, 0)) for d, n in self._committed.items())
        numbers.doubled = self._doubled()
        numbers.redone = None if redone is None else self.redone(workers)
        numbers.seconds = time.monotonic() - self.began
        TABLE.append(numbers)
        print(printed([numbers]))
        assert (numbers.lost, numbers.doubled) == (0, 0)
        assert redone is None or self.redone(workers) <= redone

        declared = self.ledger.studies.current(self.file.stem)
        assert Counter(d.stage for d in declared) == expected
        assert {d.digest for d in declared} <= set(self.ledger.commits())
        keys = [k.removeprefix("commits/") for k in self.ledger.store.list("commits/")]
        # A failed attempt is noted beside the one that then counts: what a kill may cost.
        ended = Counter(k.split(".")[0] for k in keys if ".failed-" not in k)
        assert set(ended.values()) == {1}, f"a digest was committed twice: {keys}"
        status = self.status()
        assert (status["running"], status["pending"], status["given up"]) == (0, 0, given_up)
        # What is given up keeps its checkpoint: whoever mends the cause continues from there.
        for prefix in ("leases/", *(() if given_up else ("checkpoints/",))):
            assert self.ledger.store.list(prefix) == []
        assert current_driver(self.ledger.store, self.file.stem) is None


Moment = Callable[[Drill], bool]


def commits(count: int) -> Moment:
    """When so many trials are committed."""
    return lambda drill: len(drill.ledger.store.list("commits/")) >= count


def checkpoint_beside(count: int) -> Moment:
    """When a trial has a checkpoint and so many trials are committed."""
    return lambda drill: commits(count)(drill) and bool(drill.ledger.store.list("checkpoints/"))


def trained(steps: int, trial: str = "", processes: int = 1) -> Moment:
    """When a trial (each of several processes) has done so many steps since a strike or start."""

    def moment(drill: Drill) -> bool:
        new = drill.steps()[drill.reached :]
        counts = Counter(s.pid for s in new if s.trial.startswith(trial))
        return sum(n >= steps for n in counts.values()) >= processes

    return moment


def standing(drill: Drill) -> bool:
    """When no trial has done a step for two seconds."""
    before = len(drill.steps())
    time.sleep(2)
    return len(drill.steps()) == before


def once(*words: str) -> Moment:
    """When the sweep has said all of this."""
    return lambda drill: all(word in drill.log.read_text() for word in words)


def paced(arms: Mapping[str, Mapping[str, Any]], **changes: Any) -> Space:
    """A study of paced trials, an arm each; ``changes`` are fields of the space or of the task."""
    config: dict[str, Any] = {
        "task": {"synthetic": {"size": 8, "cases": 2}},
        "model": {"./paced.py": {}},
        "mode": "feedforward",
        "train": {"batch": 4},
    }
    return Space(question="Is anything lost?", config=config, arms=arms, **changes)


def trial(name: str, steps: int, every: int, **model: Any) -> dict[str, Any]:
    """The arm of one trial that is called ``name`` in the log."""
    return {
        "model": {"./paced.py": {"trial": name, **model}},
        "train.steps": steps,
        "train.validate_every": every,
    }

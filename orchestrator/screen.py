"""Live progress of a sweep: one line per event, and a status line where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.status import Status

from orchestrator.estimate import Estimator, wall_seconds
from orchestrator.plan import Plan, Trial


@dataclass
class Screen:
    """Counts, best so far, and what is left by the plan's own estimate."""

    console: Console
    estimator: Estimator
    cpus: int
    interrupted: bool = False
    _began: float = 0.0
    _left: dict[str, tuple[float, int]] = field(default_factory=dict[str, "tuple[float, int]"])
    _running: dict[str, tuple[str, float, float]] = field(
        default_factory=dict[str, "tuple[str, float, float]"]
    )
    _tally: dict[str, int] = field(default_factory=dict[str, int])
    _work_done: float = 0.0
    _status: Status | None = None

    def begin(self, made: Plan) -> None:
        """Start the clock on what the plan still lacks."""
        self._began = time.monotonic()
        self._left = remaining(made, self.estimator)
        done = sum(t.state == "done" for t in made.trials)
        self._tally = {"committed before": done} if done else {}
        seconds = wall_seconds(self._left.values(), self.cpus)
        self.console.print(
            f"{made.study}: {len(self._left)} trials to run, {done} committed,"
            f" about {clock(seconds)} on {self.cpus} CPUs"
        )
        if self.console.is_terminal:
            self._status = self.console.status("starting Ray")
            self._status.start()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def started(self, tune_id: str, trial: Trial) -> None:
        """A trial has a worker."""
        self._running[tune_id] = (trial.label, 0.0, time.monotonic())
        self._refresh()

    def progress(self, tune_id: str, trial: Trial, step: int, steps: int, score: float) -> None:
        """A trial was validated."""
        label, _, began = self._running.get(tune_id, (trial.label, 0.0, time.monotonic()))
        self._running[tune_id] = (label, step / max(1, steps), began)
        if step < steps:
            self._line(f"  {trial.label}: step {step} of {steps}, validation Dice {score:.3f}")

    def stopped(self) -> None:
        """The sweep was told to stop; trials in flight will be resumed from their checkpoints."""
        self._running.clear()
        self.interrupted = True

    def ended(self, tune_id: str, trial: Trial, outcome: str, best: float | None) -> None:
        """A trial left its record."""
        _, _, began = self._running.pop(tune_id, ("", 0.0, time.monotonic()))
        key = _place(trial.cell.name, trial.stage, trial.index)
        seconds, _ = self._left.pop(key, (0.0, 1))
        self._work_done += seconds
        self._tally[outcome] = self._tally.get(outcome, 0) + 1
        score = f", best validation Dice {best:.3f}" if best is not None else ""
        self._line(
            f"{trial.label}: {outcome} in {clock(time.monotonic() - began)}{score};"
            f" {self._summary()}"
        )

    def _summary(self) -> str:
        counts = ", ".join(f"{n} {what}" for what, n in self._tally.items())
        return f"{counts}; {len(self._left)} left, about {clock(self._remaining())}"

    def _remaining(self) -> float:
        """By the estimate, corrected by how fast the work done so far went."""
        planned = wall_seconds(self._left.values(), self.cpus)
        part = sum(share for _, share, _ in self._running.values()) / max(1, len(self._left))
        planned *= max(0.0, 1 - part)
        expected = self._work_done / self.cpus
        elapsed = time.monotonic() - self._began
        speed = elapsed / expected if expected > 0.1 * planned > 0 else 1.0
        return planned * min(4.0, max(0.25, speed))

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
        self._refresh()

    def _refresh(self) -> None:
        if self._status is not None:
            running = ", ".join(f"{name} {share:.0%}" for name, share, _ in self._running.values())
            self._status.update(f"{self._summary()}; running: {running or 'nothing yet'}")


def remaining(made: Plan, estimator: Estimator) -> dict[str, tuple[float, int]]:
    """Device-seconds and workers of everything the plan still lacks, by its place in the study."""
    left: dict[str, tuple[float, int]] = {}
    for t in made.pending:
        cost = estimator.cost(t.config).device_seconds
        left[_place(t.cell.name, t.stage, t.index)] = (cost, t.workers)
    for cell in made.cells:
        if not cell.searched or made.space.search is None:
            continue
        search, final = made.examples[cell.name]
        known = sum(t.cell is cell and t.stage == "search" for t in made.trials)
        for index in range(known, known + made.unsuggested.get(cell.name, 0)):
            cost = estimator.cost(search).device_seconds
            left[_place(cell.name, "search", index)] = (cost, 1)
        for index in range(made.unchosen.get(cell.name, 0)):
            cost = estimator.cost(final).device_seconds
            left[_place(cell.name, "final", index)] = (cost, made.space.workers)
    return left


def _place(cell: str, stage: str, index: int) -> str:
    return f"{cell} {stage} {index}"


def clock(seconds: float) -> str:
    """Seconds as a person says them.

    >>> clock(42.3), clock(200), clock(7300)
    ('42 s', '3 min 20 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(costs: Mapping[str, Any]) -> str:
    """Peak memory as a person says it: of the device where there is one, else of the process.

    >>> memory({"peak_device_bytes": 3 * 2**30, "peak_host_bytes": 2**30})
    '3.0 GiB on the device'
    >>> memory({"peak_device_bytes": None, "peak_host_bytes": 200 * 2**20})
    '0.2 GiB'
    """
    device, host = costs["peak_device_bytes"], costs["peak_host_bytes"]
    if device:
        return f"{device / 2**30:.1f} GiB on the device"
    return "–" if host is None else f"{host / 2**30:.1f} GiB"

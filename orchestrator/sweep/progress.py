"""Live progress of a sweep: one line per event, and on a terminal a table below them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.formatting import clock
from orchestrator.planning.cost import Cost, Estimator, wall_seconds
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.resources import most

SHOWN = 8
"""Running trials that are listed by name."""


@dataclass
class Running:
    """A trial that has a worker."""

    trial: Trial
    share: float = 0.0
    """Of its steps, how many are done."""
    began: float = field(default_factory=time.monotonic)

    @property
    def device_seconds(self) -> float:
        return (time.monotonic() - self.began) * most(self.trial.workers)


@dataclass
class ProgressDisplay:
    """Counts, best so far, and what is left by the plan's own estimate."""

    console: Console
    estimator: Estimator
    cpus: int
    interrupted: bool = False
    _began: float = 0.0
    _left: dict[str, tuple[float, int]] = field(default_factory=dict[str, "tuple[float, int]"])
    _running: dict[str, Running] = field(default_factory=dict[str, Running])
    _tally: Counter[str] = field(default_factory=Counter[str])
    _best: dict[str, tuple[float, str]] = field(default_factory=dict[str, "tuple[float, str]"])
    _planned: float = 0.0
    """Wall seconds of what is left, by the estimate; kept, since a study may have many trials."""
    _work_done: float = 0.0
    _device_seconds: float = 0.0
    _live: Live | None = None

    def begin(self, made: Plan) -> None:
        """Start the clock on what the plan still lacks."""
        self._began = time.monotonic()
        left = remaining(made, self.estimator)
        self._left = {place: (cost.device_seconds, n) for place, (cost, n) in left.items()}
        done = sum(t.state == "done" for t in made.trials)
        self._tally = Counter({"committed before": done} if done else {})
        self._planned = wall_seconds(self._left.values(), self.cpus)
        self.console.print(
            f"{made.study}: {len(self._left)} trials to run, {done} committed,"
            f" about {clock(self._planned)} on {self.cpus} CPUs"
        )
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=self.console, refresh_per_second=2
            )
            self._live.start()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def waits(self, who: str) -> None:
        """Another process drives the study."""
        self.note(f"{who} drives this study; waiting until it is done or gone (Ctrl-C leaves)")

    def note(self, text: str) -> None:
        """Something that a person should know."""
        self._line(text)

    def started(self, tune_id: str, trial: Trial) -> None:
        """A trial has a worker."""
        self._running[tune_id] = Running(trial)

    def progress(self, tune_id: str, trial: Trial, step: int, steps: int, score: float) -> None:
        """A trial was validated."""
        self._running.setdefault(tune_id, Running(trial)).share = step / max(1, steps)
        if step < steps:
            self._line(f"  {trial.label}: step {step} of {steps}, validation Dice {score:.3f}")

    def lost(self, tune_id: str, trial: Trial, reason: str) -> None:
        """A trial lost its node; that is not its fault, and it will be resumed."""
        self._device_seconds += self._running.pop(tune_id, Running(trial)).device_seconds
        self._line(f"{trial.label}: {reason}; it will be resumed")

    def stopped(self) -> None:
        """The sweep was told to stop; trials in flight will be resumed from their checkpoints."""
        self._running.clear()
        self.interrupted = True

    def ended(
        self, tune_id: str, trial: Trial, outcome: str, best: float | None, reason: str | None
    ) -> None:
        """A trial left its record."""
        running = self._running.pop(tune_id, Running(trial))
        self._device_seconds += running.device_seconds
        if outcome != "failed":  # it is tried again
            cost = self._left.pop(_place(trial.cell.name, trial.stage, trial.index), (0.0, 1))
            self._planned = max(0.0, self._planned - wall_seconds([cost], self.cpus))
            self._work_done += cost[0]
        self._tally[outcome] += 1
        task = trial.config.task.title
        if best is not None and best > self._best.get(task, (-1.0, ""))[0]:
            self._best[task] = best, trial.label
        score = f", best validation Dice {best:.3f}" if best is not None else ""
        why = f" ({reason})" if reason and outcome in ("failed", "diverged") else ""
        took = clock(time.monotonic() - running.began)
        self._line(f"{trial.label}: {outcome} in {took}{score}{why}; {self._summary()}")

    def _summary(self) -> str:
        counts = ", ".join(f"{n} {what}" for what, n in self._tally.items())
        return f"{counts}; {len(self._left)} left, about {clock(self._remaining())}"

    def _remaining(self) -> float:
        """By the estimate, corrected by how fast the work done so far went."""
        planned = self._planned
        part = sum(r.share for r in self._running.values()) / max(1, len(self._left))
        planned *= max(0.0, 1 - part)
        expected = self._work_done / self.cpus
        elapsed = time.monotonic() - self._began
        speed = elapsed / expected if expected > 0.1 * planned > 0 else 1.0
        return planned * min(4.0, max(0.25, speed))

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _table(self) -> Table:
        """What a terminal shows below the lines."""
        table = Table.grid(padding=(0, 2))
        used = self._device_seconds + sum(r.device_seconds for r in self._running.values())
        table.add_row("study", Text(f"{self._summary()}; {clock(used)} of device time used"))
        running = sorted(self._running.values(), key=lambda r: r.began)
        for r in running[:SHOWN]:
            bar = "█" * round(20 * r.share)
            table.add_row("running", Text(f"{bar:░<20} {r.share:4.0%}  {r.trial.label}"))
        if len(running) > SHOWN:
            table.add_row("running", f"and {len(running) - SHOWN} more")
        for task, (score, label) in sorted(self._best.items()):
            table.add_row("best", Text(f"{task}: validation Dice {score:.3f}, {label}"))
        return table


def remaining(made: Plan, estimator: Estimator) -> dict[str, tuple[Cost, int]]:
    """Cost and workers of everything the plan still lacks, by its place in the study."""
    left: dict[str, tuple[Cost, int]] = {}
    for t in made.pending:
        cost = estimator.cost(t.config)
        left[_place(t.cell.name, t.stage, t.index)] = (cost, most(t.workers))
    for cell in made.cells:
        if not cell.searched or made.space.search is None:
            continue
        search, final = made.examples[cell.name]
        known = sum(t.cell is cell and t.stage == "search" for t in made.trials)
        for index in range(known, known + made.unsuggested.get(cell.name, 0)):
            cost = estimator.cost(search)
            left[_place(cell.name, "search", index)] = (cost, 1)
        for index in range(made.unchosen.get(cell.name, 0)):
            cost = estimator.cost(final)
            left[_place(cell.name, "final", index)] = (cost, most(made.space.workers))
    return left


def _place(cell: str, stage: str, index: int) -> str:
    return f"{cell} {stage} {index}"

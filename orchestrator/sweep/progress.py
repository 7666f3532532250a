"""The live progress of a sweep: one line per event and, on a terminal, a table below."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster import Resources
from orchestrator.formatting import clock, plural, printable
from orchestrator.planning import wall_time
from orchestrator.planning.cost import Estimator, RemainingTrial, TrialKey, nothing, remaining
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.short_names import short_names
from search_spaces._workers import most

SHOWN = 8
"""The number of running trials that the table lists."""


@dataclass
class Running:
    """A trial that runs."""

    trial: Trial
    share: float = 0.0
    """The fraction of its steps that are done."""
    began: float = field(default_factory=time.monotonic)

    @property
    def device_seconds(self) -> float:
        return (time.monotonic() - self.began) * most(self.trial.workers)


@dataclass
class ProgressDisplay:
    """Shows counts, the best trials so far, and the estimated time that is left."""

    console: Console
    estimator: Estimator
    slots: int = 1
    """The workers that run at once."""
    interrupted: bool = False
    _began: float = 0.0
    _left: dict[TrialKey, RemainingTrial] = field(default_factory=dict[TrialKey, RemainingTrial])
    """The trials that are left."""
    _names: dict[str, str] = field(default_factory=dict[str, str])
    """The words in which each cell differs from the others, by its name."""
    _same: dict[str, list[TrialKey]] = field(default_factory=dict[str, list[TrialKey]])
    """The trials of each config that is left, by digest; a config runs once."""
    _running: dict[str, Running] = field(default_factory=dict[str, Running])
    _tally: Counter[str] = field(default_factory=Counter[str])
    _best: dict[str, tuple[float, str]] = field(default_factory=dict[str, "tuple[float, str]"])
    """Validation Dice and label of the best trial, by task."""
    _planned: float = 0.0
    """The estimated wall seconds of all trials that are left."""
    _work_done: float = 0.0
    _device_seconds: float = 0.0
    _live: Live | None = None

    @property
    def left(self) -> int:
        """The number of trials that are left."""
        return len(self._left)

    def begin(self, plan: Plan, resources: Resources) -> None:
        """Start the clock, and print what is left to run."""
        self._began = time.monotonic()
        self.slots = wall_time.slots_of(plan.space, resources)
        self.renew(plan)
        done = sum(t.state == "done" for t in plan.trials)
        self._tally = Counter({"committed before": done} if done else {})
        self.console.print(
            f"{plan.study}: {plural(self.left, 'trial')} to run, {done} committed,"
            f" {wall_time.description(self._left.values(), plan.space, resources)}"
        )
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=self.console, refresh_per_second=2
            )
            self._live.start()

    def renew(self, plan: Plan) -> None:
        """Take over what is left after a round, in which the configs of final trials got known."""
        self._left = remaining(plan, self.estimator)
        self._planned = self._wall_seconds()
        self._names = short_names(cell.name for cell in plan.cells)
        self._same = {}
        for trial in plan.pending:
            self._same.setdefault(trial.digest, []).append(_key(trial))

    def end(self) -> None:
        """Remove the table from the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def waiting(self, driver: str) -> None:
        """Print that another process drives the study."""
        self.note(f"{driver} drives this study; waiting until it ends (Ctrl-C stops waiting)")

    def note(self, text: str) -> None:
        """Print a message."""
        self._line(text)

    def started(self, tune_id: str, trial: Trial) -> None:
        """Show a trial as running."""
        self._running[tune_id] = Running(trial)

    def progress(self, tune_id: str, trial: Trial, step: int, steps: int, score: float) -> None:
        """Print a validation of a running trial."""
        self._running.setdefault(tune_id, Running(trial)).share = step / max(1, steps)
        if step < steps:
            self._line(
                f"  {self._label(trial)}: step {step} of {steps}, validation Dice {score:.3f}"
            )

    def lost(self, tune_id: str, trial: Trial, reason: str) -> None:
        """Print that a trial lost its node and will be resumed."""
        self._device_seconds += self._running.pop(tune_id, Running(trial)).device_seconds
        self._line(f"{self._label(trial)}: {reason}; it will be resumed")

    def stopped(self) -> None:
        """Note that the sweep was interrupted; the next one resumes the running trials."""
        self._running.clear()
        self.interrupted = True

    def ended(
        self,
        tune_id: str,
        trial: Trial,
        outcome: str,
        best: float | None,
        reason: str | None,
        *,
        given_up: bool = False,
    ) -> None:
        """Print how a trial ended."""
        running = self._running.pop(tune_id, Running(trial))
        self._device_seconds += running.device_seconds
        if outcome != "failed" or given_up:
            for key in dict.fromkeys([_key(trial), *self._same.get(trial.digest, [])]):
                done = self._left.pop(key, None)
                self._work_done += done.cost.device_seconds if done is not None else 0.0
            self._planned = self._wall_seconds()
        self._tally[outcome] += 1
        task = trial.config.tested.title
        if best is not None and best > self._best.get(task, (-1.0, ""))[0]:
            self._best[task] = best, self._label(trial)
        score = f", best validation Dice {best:.3f}" if best is not None else ""
        why = f" ({reason})" if reason and outcome in ("failed", "diverged") else ""
        duration = clock(time.monotonic() - running.began)
        ending = f"{outcome}, given up" if given_up else outcome
        self._line(f"{self._label(trial)}: {ending} in {duration}{score}{why}; {self._summary()}")

    def repeated(self, trial: Trial, *, ended: bool) -> None:
        """Take off a search trial whose config runs, or has ``ended``, as another trial."""
        key = _key(trial)
        left = self._left.pop(key, None)
        if left is not None and not ended:
            self._left[key] = left._replace(cost=nothing(left.cost))
            self._same.setdefault(trial.digest, []).append(key)
        self._planned = self._wall_seconds()

    def _label(self, trial: Trial) -> str:
        """Return the name of a trial: what differs between cells; the only cell by its parts."""
        name, config = trial.cell.name, trial.config
        if len(self._names) == 1:
            name = f"{config.tested.title} {config.model.name} {config.mode.name}"
        return f"{self._names.get(name, name)} {trial.stage} {trial.index}"

    def _summary(self) -> str:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self._tally.items())
        return f"{counts}; {self.left} left, about {clock(self._remaining())}"

    def _wall_seconds(self) -> float:
        costs = [(t.cost.device_seconds, t.workers) for t in self._left.values()]
        return wall_time.wall_seconds(costs, self.slots)

    def _remaining(self) -> float:
        """Return the estimated seconds that are left, scaled by the speed of the work so far."""
        planned = self._planned
        begun = sum(r.share for r in self._running.values()) / max(1, self.left)
        planned *= max(0.0, 1 - begun)
        expected = self._work_done / self.slots
        elapsed = time.monotonic() - self._began
        speed = elapsed / expected if expected > 0.1 * planned > 0 else 1.0
        return planned * min(4.0, max(0.25, speed))

    def _line(self, text: str) -> None:
        self.console.print(
            printable(text, keep="\n"), highlight=False, soft_wrap=True, markup=False
        )

    def _table(self) -> Table:
        """Return the table below the lines."""
        table = Table.grid(padding=(0, 2))
        used = self._device_seconds + sum(r.device_seconds for r in self._running.values())
        table.add_row("study", Text(f"{self._summary()}; {clock(used)} of device time used"))
        running = sorted(self._running.values(), key=lambda r: r.began)
        for r in running[:SHOWN]:
            bar = "█" * round(20 * r.share)
            table.add_row(
                "running", Text(f"{bar:░<20} {r.share:4.0%}  {printable(self._label(r.trial))}")
            )
        if len(running) > SHOWN:
            table.add_row("running", f"and {len(running) - SHOWN} more")
        for task, (score, label) in sorted(self._best.items()):
            table.add_row(
                "best", Text(f"{printable(task)}: validation Dice {score:.3f}, {printable(label)}")
            )
        return table


def _key(trial: Trial) -> TrialKey:
    return TrialKey(trial.cell.name, trial.stage, trial.index)

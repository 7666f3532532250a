"""One round of a sweep: the next trial, the validations of running trials, and their ends."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.weights import Retention
from orchestrator.planning import trial_state
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.resources import ResourceRequest, workers_of
from orchestrator.planning.selection import Standing
from orchestrator.planning.store_load import COMPACT_EVERY
from orchestrator.provenance import code_version
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import MAX_ATTEMPTS, CellSearch
from orchestrator.search.pruning import RungScore, RungScores
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.decisions import Failure, Retry, decide, trial_end
from orchestrator.sweep.declarations import declare_trial
from orchestrator.sweep.packing import Occupied
from orchestrator.sweep.queue import Queue, Ready
from orchestrator.sweep.trainings_in_flight import TrainingsInFlight
from search_spaces._workers import fewest, most
from trainables.rows import StepRow
from trainables.schemas import Outcome
from trainables.training.attempt import commit_unfinished

LEAST_SHARE = 0.05
"""The duration of a trial is extrapolated once this fraction of its steps is done."""

TuneResult = Mapping[str, Any]
"""A report of a trial to Tune (:func:`trainables.worker.report_of`); at its end, its outcome."""


@dataclass
class RunningTrial:
    """A trial that Tune runs."""

    trial: Trial
    search: CellSearch | None
    name: str = ""
    """The name under which the search knows the trial."""
    free: int = 1
    """The slots that were free when it started."""
    began: float = field(default_factory=time.monotonic)
    share: float = 0.0
    """The fraction of its steps that are done."""
    best: float | None = None
    """The best validation score so far."""
    environment: dict[str, Any] = field(default_factory=dict[str, Any])
    """The device, host and versions that the trial reported; empty before its first report."""
    history: dict[int, StepRow] = field(default_factory=dict[int, StepRow])
    """The rows of the validations that the trial reported, by step."""
    final_score: float | None = None
    """The validation score under the trial's own reading, if it finished."""
    pruned: bool = False
    killed: str | None = None
    """The reason why the watchdog killed it."""

    @property
    def known_environment(self) -> dict[str, Any]:
        """The environment for the trial's row: only the number of workers if it never reported."""
        return self.environment or {"world_size": fewest(self.trial.workers)}

    @property
    def slots(self) -> int:
        """The number of its workers: the reported one, before that the largest possible."""
        few, many = fewest(self.trial.workers), most(self.trial.workers)
        return int(self.environment.get("world_size", max(few, min(many, self.free))))

    def until(self, expected: float) -> float:
        """Return when it ends, from its progress or else from the expected duration."""
        elapsed = time.monotonic() - self.began
        return self.began + (elapsed / self.share if self.share > LEAST_SHARE else expected)


class Round:
    """The state that Tune's searcher, scheduler and callback share during one round."""

    def __init__(
        self,
        plan: Plan,
        queue: list[Trial],
        searches: list[CellSearch],
        history: SearchHistory,
        one_worker: ResourceRequest,
        context: SweepContext,
    ) -> None:
        self.plan, self.one_worker, self.context = plan, one_worker, context
        self._weights = TrainingsInFlight(set(plan.kept), shares=plan.keeps)
        self.queue = Queue(plan, list(queue), searches, self._weights, context.display.estimator)
        self.ledger, self.display, self.retries = context.ledger, context.display, context.retries
        retention = Retention("final" if plan.keeps else "none", plan.space.keep_gb)
        trains = not plan.space.read_only
        self.sink = LedgerSink(context.ledger, code_version(), retention, trains)
        self.running: dict[str, RunningTrial] = {}
        """The running trials, by Tune's trial id."""
        self.error: Exception | None = None
        """An error in a hook, which Tune would report as an error of its own."""
        self._objectives, self._commits = history.objectives, history.commits
        self._standings = dict(history.standings)
        self._rungs = RungScores(plan.space.search, history.rung_scores())
        self._next_index = dict(plan.next_index)
        self._outcomes: dict[str, Outcome | None] = {t.digest: t.outcome for t in plan.trials}
        searched = (t for t in plan.pending if t.stage == "search")
        self._suggested = {(t.cell.name, t.digest): t for t in searched}
        """Search trials of an earlier round that have not ended, by cell and digest."""
        self._handed_out = set[str]()
        """Digests of the search trials that this round has handed out."""
        self._ended = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its hooks to restore them; a round is rebuilt from the ledger

    @contextmanager
    def keeping_error(self) -> Generator[None]:
        """Keep an error that is raised into Tune."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    # -- the next trial -----------------------------------------------------------------------

    @property
    def exhausted(self) -> bool:
        """Whether no trial waits, or the budget is spent."""
        return self.context.budget.exhausted() is not None or self.queue.empty

    def next(self, tune_id: str, slots: int = sys.maxsize) -> Trial | None:
        """Return the trial to start now on a cluster for so many workers; None if there is none.

        Then either nothing waits (:attr:`exhausted`), or what waits does not fit yet or needs the
        weights of a training that runs.
        """
        while self.context.budget.exhausted() is None:
            occupied = sum(r.slots for r in self.running.values())
            chosen = self.queue.take(slots, occupied, self._ends, time.monotonic())
            if chosen is None:
                return None
            if isinstance(chosen, CellSearch):
                trial = self._suggest(chosen, tune_id)
                if trial is None:
                    continue
                chosen = Ready(trial, chosen, tune_id)
                if not self._weights.free(trial.config):
                    self.queue.ready.append(chosen)
                    continue
            self._weights.started(tune_id, chosen.trial.config)
            self.running[tune_id] = RunningTrial(*chosen, slots - occupied)
            self.context.budget.started(tune_id, fewest(chosen.trial.workers))
            return chosen.trial
        return None

    def _ends(self) -> list[Occupied]:
        """Return the slots of the running trials and their expected ends."""
        return [
            Occupied(r.slots, r.until(self.queue.seconds(r.trial.cell.name, r.trial.stage)))
            for r in self.running.values()
        ]

    def least_request(self) -> ResourceRequest:
        """Return the smallest request of the trials that run or wait."""
        handed = [r.trial.workers for r in self.running.values()]
        every = [*handed, *(w.workers for w in self.queue.every)]
        return dataclasses.replace(self.one_worker, workers=min(every, key=fewest, default=1))

    def _suggest(self, search: CellSearch, tune_id: str) -> Trial | None:
        """Ask Optuna for a trial and declare it; None if that config needs no training."""
        settings, cell = self.plan.space.search, search.cell
        assert settings is not None
        values = search.ask(tune_id)
        if values is None:
            self.display.note(
                f"{cell.name}: {MAX_ATTEMPTS} suggestions in a row break a constraint or the limit"
                " on passes; widen them or the ranges, or the search cannot end"
            )
            return None
        config = cell.config(values, settings.overrides, settings.seed)
        digest = config.digest()
        trial = self._suggested.pop((cell.name, digest), None)
        repeated = digest in (self._outcomes if trial is None else self._handed_out)
        outcome = self._outcomes[digest] if digest in self._outcomes else self._other_study(digest)
        if trial is None:
            index = self._next_index[cell.name]
            self._next_index[cell.name] += 1
            workers = workers_of(self.plan.space, cell, "search")
            trial = Trial(cell, "search", index, config, values, workers, outcome, "pending")
            declare_trial(self.plan, trial, self.ledger)
        self._outcomes[digest] = outcome
        if not repeated and outcome is None:
            self._handed_out.add(digest)
            return trial
        search.tell(tune_id, outcome or "failed", self._standings.get(digest))
        self.display.repeated(trial, ended=outcome is not None)
        return None

    def _other_study(self, digest: str) -> Outcome | None:
        """Return the outcome of a config that another study trained."""
        commit = self._commits.get(digest)
        if commit is None or not trial_state.counts_as_done(commit.outcome, "search"):
            return None
        if self._objectives is not None:
            self._standings |= self._objectives.standings(self.ledger, {digest})
        return commit.outcome

    # -- validations --------------------------------------------------------------------------

    def reported(self, tune_id: str, result: TuneResult) -> bool:
        """Take a report of a running trial; return whether the trial continues."""
        running = self.running[tune_id]
        if result.get("ran"):
            running.environment = result["ran"]
            self.context.budget.runs_on(tune_id, running.environment["device"])
        running.history |= {row["step"]: row for row in result.get("history") or ()}
        if running.search is not None:
            self._rungs.resumed(running.trial, result.get("earlier") or [])
        score = result.get("score")
        if score is None or not math.isfinite(score):
            return True
        step, steps = int(result["step"]), int(result["steps"])
        running.share = step / max(1, steps)
        running.best = max(score, running.best or 0.0, float(result.get("best", score)))
        self.display.progress(tune_id, running.trial, step, steps, score)
        if running.search is None:
            return True
        running.search.report(running.name, step, score)
        if step >= steps:
            return True
        rung_score = RungScore(score, tuple(result.get("case_scores", ())))
        reason = self._rungs.decide_at_rung(running.trial, step, rung_score)
        if reason is None:
            return True
        running.pruned = True
        self._commit(running, "pruned", f"score {score:.4f} at step {step}: {reason}")
        return False

    # -- ends ---------------------------------------------------------------------------------

    def ended(self, tune_id: str, result: TuneResult, failure: Failure | None) -> None:
        """Carry out the decision on a trial that ended."""
        running = self.running.pop(tune_id)
        self._weights.ended(tune_id, self.ledger.weights)
        if result.get("final_score") is not None:
            running.final_score = running.best = float(result["final_score"])
        trial, killed = running.trial, running.killed
        self.context.budget.ended(tune_id)
        end = trial_end(
            result.get("outcome"), failure, pruned=running.pruned, killed=killed is not None
        )
        reason = result.get("reason") if failure is None else killed or failure.reason
        searched = running.search is not None
        decision = decide(end, self.retries.of(trial.digest), reason, searched=searched)
        self.retries.update(trial.digest, decision.retries)
        if decision.commit:
            self._commit(running, "failed", reason or end.value)
        if decision.release_lease:  # otherwise its age would be that of the next attempt
            self.ledger.leases.release(trial.digest)
        if decision.retry is Retry.THIS_ROUND:
            self.queue.ready.append(Ready(trial))
        if decision.stop_sweep:
            self.display.stopped()
        elif decision.outcome is None:
            self.display.lost(tune_id, trial, reason or end.value)
        else:
            self._completed(tune_id, running, decision.outcome)
            given_up = decision.outcome == "failed" and decision.retry is Retry.NEVER
            self.display.ended(
                tune_id, trial, decision.outcome, running.best, reason, given_up=given_up
            )

    def _commit(self, running: RunningTrial, outcome: Outcome, reason: str) -> None:
        """Commit the row of a trial whose workers cannot."""
        history = [row for _, row in sorted(running.history.items())]
        commit_unfinished(
            running.trial.config, self.sink, outcome, reason, running.known_environment, history
        )

    def _completed(self, tune_id: str, running: RunningTrial, outcome: Outcome) -> None:
        """Pass an outcome to the search, and compact the tables from time to time."""
        digest = running.trial.digest
        self._outcomes[digest] = outcome
        if running.search is not None:
            running.search.tell(running.name, outcome, self._standing(running, outcome))
        self._ended += 1
        if self._ended % COMPACT_EVERY == 0:
            self.context.compact()

    def _standing(self, running: RunningTrial, outcome: Outcome) -> Standing | None:
        """Return the standing of a finished trial, from its reports if these suffice."""
        digest = running.trial.digest
        if outcome != "finished" or self._objectives is None:
            return None
        if self._objectives.reported and running.final_score is not None:
            self._standings[digest] = Standing((running.final_score,))
        else:
            self._standings |= self._objectives.standings(self.ledger, {digest})
        return self._standings.get(digest)

"""One round of a sweep: which trial is next, what a report means, and how a trial ends."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster import Resources
from orchestrator.ledger.driver_lock import DriverLock
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.studies import Declaration, Declared
from orchestrator.planning import trial_state
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.resources import ResourceRequest, fewest
from orchestrator.planning.selection import Standing
from orchestrator.provenance import code_version
from orchestrator.search import pruning
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import CellSearch
from orchestrator.search.pruning import Ladder
from orchestrator.sweep import timeouts
from orchestrator.sweep.budget import BudgetMeter
from orchestrator.sweep.failures import Failure
from orchestrator.sweep.progress import ProgressDisplay
from orchestrator.sweep.retries import RetryState
from orchestrator.tables import compaction
from trainables.schemas import Outcome
from trainables.training.attempt import commit_unfinished

log = logging.getLogger("segprint.tables")
Result = dict[str, Any]


@dataclasses.dataclass
class RunningTrial:
    """A trial that Tune is working on."""

    trial: Trial
    search: CellSearch | None
    best: float | None = None
    """Validation score."""
    ran: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """What it runs on, as soon as it said so."""
    pruned: bool = False
    killed: str | None = None
    """Why the sweep itself ended it."""

    @property
    def place(self) -> dict[str, Any]:
        """What it ran on: where it died before it said so, only how many workers it had."""
        return self.ran or {"world_size": fewest(self.trial.workers)}


@dataclasses.dataclass
class SweepContext:
    """What all rounds of a sweep share."""

    ledger: Ledger
    screen: ProgressDisplay
    claim: DriverLock
    resources: Resources
    purse: BudgetMeter
    silence: float = timeouts.SILENCE_SECONDS
    """A trial that was not heard of for so many seconds is killed."""
    tries: RetryState = dataclasses.field(default_factory=RetryState)
    mirror: str | None = None
    """Who is shown the sweep as well (:mod:`orchestrator.sweep.trackers`)."""


class Round:
    """What Tune's searcher, scheduler and callback share: which trial is what, and the ledger."""

    def __init__(
        self,
        made: Plan,
        queue: list[Trial],
        searches: list[CellSearch],
        memory: SearchHistory,
        needs: ResourceRequest,
        crew: SweepContext,
    ) -> None:
        self.made, self.queue, self.searches = made, list(queue), searches
        self.ledger, self.screen, self.needs, self.crew = crew.ledger, crew.screen, needs, crew
        self.sink, self.tries = LedgerSink(crew.ledger, code_version()), crew.tries
        self.handed: dict[str, RunningTrial] = {}
        self.goals, self.committed = memory.goals, memory.commits
        self.ladder = Ladder(made.space.search, memory.rungs())
        self.free = dict(made.free)
        self.outcomes: dict[str, Outcome | None] = {t.digest: t.outcome for t in made.trials}
        self.standings = dict(memory.standings)
        self.waiting = {t.digest: t for t in made.pending if t.stage == "search"}
        self.ends = 0
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its hooks, to restore them later; here the ledger is the memory

    @contextmanager
    def remembering(self) -> Generator[None]:
        """Keep an error that is raised into Tune, which would hide it in one of its own."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def next(self, tune_id: str) -> Trial | None:
        """The next trial to run, unless the budget is spent."""
        handed = self._next(tune_id) if self.crew.purse.empty() is None else None
        if handed is None:
            return None
        self.handed[tune_id] = handed
        self.crew.purse.started(tune_id, fewest(handed.trial.workers))
        return handed.trial

    def _next(self, tune_id: str) -> RunningTrial | None:
        """Enumerated ones first, then the searches in turn."""
        if self.queue:
            return RunningTrial(self.queue.pop(0), None)
        while self.searches:
            search = self.searches.pop(0)
            if search.left <= 0:
                continue
            self.searches.append(search)
            trial = self._suggest(search, tune_id)
            if trial is not None:
                return RunningTrial(trial, search)
        return None

    def _suggest(self, search: CellSearch, tune_id: str) -> Trial | None:
        """Ask Optuna, and declare what it said before anything runs; None if it repeats itself."""
        assert self.made.space.search is not None
        settings, cell = self.made.space.search, search.cell
        values = search.ask(tune_id)
        if values is None:
            return None
        config = cell.config(values, settings.overrides, settings.seed)
        digest = config.digest()
        if digest in self.waiting:
            return self.waiting.pop(digest)
        index = self.free[cell.name]
        self.free[cell.name] += 1
        outcome = self.outcomes.get(digest)
        if outcome is None and digest not in self.outcomes:  # another study may have trained it
            outcome = self._elsewhere(digest)
        trial = Trial(cell, "search", index, config, values, 1, outcome, "pending")
        declare_one(self.made, trial, self.ledger)
        # Trained already, or right now: it counts, and is told as such.
        if digest in self.outcomes or outcome is not None:
            self.outcomes[digest] = outcome
            search.tell(tune_id, outcome or "failed", self.standings.get(digest))
            return None
        self.outcomes[digest] = None
        return trial

    def _elsewhere(self, digest: str) -> Outcome | None:
        """How a config ended that no trial of the study was when the round began."""
        commit = self.committed.get(digest)
        if commit is None or not trial_state.counts_as_done(commit.outcome, "search"):
            return None
        if self.goals is not None:
            self.standings |= self.goals.standings(self.ledger, {digest})
        return commit.outcome

    def reported(self, tune_id: str, result: Result) -> bool:
        """Take a validation; whether the trial goes on."""
        handed = self.handed[tune_id]
        if result.get("ran"):
            handed.ran = result["ran"]
            self.crew.purse.runs_on(tune_id, handed.ran["device"])
        if handed.search is not None:
            self.ladder.climbed(handed.trial, result.get("earlier") or [])
        score = result.get("score")
        if score is None or not math.isfinite(score):
            return True
        step = int(result["step"])
        handed.best = max(score, handed.best or 0.0, float(result.get("best", score)))
        self.screen.progress(tune_id, handed.trial, step, int(result["steps"]), score)
        if handed.search is None or self.made.space.search is None:
            return True
        handed.search.report(tune_id, step, score)
        if step >= int(result["steps"]):
            return True
        mine = pruning.Rung(score, tuple(result.get("case_scores", ())))
        why = self.ladder.judged(handed.trial, step, mine)
        if why is None:
            return True
        handed.pruned = True
        reason = f"score {score:.4f} at step {step}: {why}"
        commit_unfinished(handed.trial.config, self.sink, "pruned", reason, handed.place)
        return False

    def ended(self, tune_id: str, result: Result, failure: Failure | None) -> None:
        """Take the end of a trial: tell Optuna and the screen, record what nobody else could."""
        handed = self.handed.pop(tune_id)
        self.crew.purse.ended(tune_id)
        digest, outcome, reason = handed.trial.digest, result.get("outcome"), result.get("reason")
        if failure is not None and handed.killed is not None:
            failure = Failure(handed.killed)
        if failure is not None and failure.lost:
            self.tries.lost[digest] += 1
            self.ledger.leases.release(digest)  # else its age would be that of the next one to try
            if handed.search is None and self.tries.lost[digest] < timeouts.MOST_LOST:
                self.queue.append(handed.trial)
            self.screen.lost(tune_id, handed.trial, failure.reason)
            return
        if failure is not None:
            outcome, reason = "failed", failure.reason
            commit_unfinished(handed.trial.config, self.sink, "failed", reason, handed.place)
        elif handed.pruned:
            outcome = "pruned"
        if outcome is None:  # stopped with the sweep: neither told nor recorded, to be resumed
            self.screen.stopped()
            return
        if outcome == "failed":
            self.tries.note(digest, reason)
        self.outcomes[digest] = outcome
        if handed.search is not None:
            handed.search.tell(tune_id, outcome, self._standing(handed, outcome))
        self.ends += 1
        if self.ends % timeouts.FOLD_EVERY == 0:
            fold_quietly(self.ledger)
        self.screen.ended(tune_id, handed.trial, outcome, handed.best, reason)

    def _standing(self, handed: RunningTrial, outcome: Outcome) -> Standing | None:
        """How good a trial was, by what it reported or, where that is not all, by its rows."""
        digest = handed.trial.digest
        if outcome != "finished" or self.goals is None:
            return None
        if self.goals.reported and handed.best is not None:
            self.standings[digest] = Standing((handed.best,))
        else:
            self.standings |= self.goals.standings(self.ledger, {digest})
        return self.standings.get(digest)


def fold_quietly(ledger: Ledger) -> None:
    """Fold what is committed; a sweep does not end for it, since nothing is lost without."""
    try:
        compaction.compact_committed(ledger.store)
    except Exception as error:  # whatever it is, the next sweep or `tables compact` folds
        log.warning("segprint: not folded for now: %s", error)


def declare(made: Plan, ledger: Ledger) -> None:
    """Note every known trial of the plan that is not noted yet."""
    known = {d.key for d in ledger.studies.declared(made.study, made.revision, whole=True)}
    placed = ((_place(made, trial), trial) for trial in made.trials)
    new = ((place, _about(trial)) for place, trial in placed if place.key not in known)
    ledger.studies.declare_all(new)


def declare_one(made: Plan, trial: Trial, ledger: Ledger) -> None:
    """Note one trial, with what it is and what was searched for it."""
    ledger.studies.declare(_place(made, trial), _about(trial))


def _about(trial: Trial) -> Declaration:
    """What is noted of a trial."""
    return {
        "arm": trial.cell.arm,
        "config": trial.config.plain(),
        "values": trial.values,
        "workers": trial.workers,
        "committed_before": trial_state.counts_as_done(trial.outcome, trial.stage),
    }


def _place(made: Plan, trial: Trial) -> Declared:
    """Where a trial stands in its study."""
    return Declared(
        made.study, made.revision, trial.cell.name, trial.stage, trial.index, trial.digest
    )

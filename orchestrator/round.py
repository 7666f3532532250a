"""One round of a sweep: which trial is next, what a report means, and how a trial ends."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster import Resources
from orchestrator import fold, policy
from orchestrator.fill import CellSearch
from orchestrator.ledger import Ledger, LedgerSink
from orchestrator.needs import Needs
from orchestrator.owner import Claim
from orchestrator.plan import Plan, Trial
from orchestrator.policy import Failure
from orchestrator.provenance import code_version
from orchestrator.screen import Screen
from orchestrator.studies import Declared
from trainables.attempt import commit_unfinished

log = logging.getLogger("segprint.tables")
Result = dict[str, Any]


@dataclasses.dataclass
class Handed:
    """A trial that Tune is working on."""

    trial: Trial
    search: CellSearch | None
    best: float | None = None
    pruned: bool = False
    killed: str | None = None
    """Why the sweep itself ended it."""


@dataclasses.dataclass
class Tries:
    """What a sweep remembers of trials that ended badly, from one round to the next."""

    lost: Counter[str] = dataclasses.field(default_factory=Counter[str])
    """How often each digest lost its node."""
    splits: dict[str, int] = dataclasses.field(default_factory=dict[str, int])

    def split(self, digest: str) -> int:
        """How many times more parts a batch is passed in (:class:`trainables.place.Place`)."""
        return self.splits.get(digest, 1)

    def note(self, digest: str, reason: str | None) -> None:
        """A trial failed: for want of memory, it is tried again with half of it."""
        if policy.out_of_memory(reason):
            self.splits[digest] = 2 * self.split(digest)


@dataclasses.dataclass
class Crew:
    """What all rounds of a sweep share."""

    ledger: Ledger
    screen: Screen
    claim: Claim
    resources: Resources
    silence: float = policy.SILENCE_SECONDS
    """A trial that was not heard of for so many seconds is killed."""
    tries: Tries = dataclasses.field(default_factory=Tries)


class Round:
    """What Tune's searcher, scheduler and callback share: which trial is what, and the ledger."""

    def __init__(
        self,
        made: Plan,
        queue: list[Trial],
        searches: list[CellSearch],
        scores: dict[str, float],
        needs: Needs,
        crew: Crew,
    ) -> None:
        self.made, self.queue, self.searches = made, list(queue), searches
        self.ledger, self.screen, self.needs, self.crew = crew.ledger, crew.screen, needs, crew
        self.sink, self.tries = LedgerSink(crew.ledger, code_version()), crew.tries
        self.handed: dict[str, Handed] = {}
        self.rungs = _rungs(made, crew.ledger)
        self.index = {
            cell.name: [t.index for t in made.trials if t.cell is cell and t.stage == "search"]
            for cell in made.cells
        }
        self.known = {t.digest for t in made.trials}
        self.waiting = {t.digest: t for t in made.pending if t.stage == "search"}
        self.scores = scores
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
        """The next trial to run: enumerated ones first, then the searches in turn."""
        if self.queue:
            self.handed[tune_id] = Handed(self.queue.pop(0), None)
            return self.handed[tune_id].trial
        while self.searches:
            search = self.searches.pop(0)
            if search.left <= 0:
                continue
            self.searches.append(search)
            trial = self._suggest(search, tune_id)
            if trial is not None:
                self.handed[tune_id] = Handed(trial, search)
                return trial
        return None

    def _suggest(self, search: CellSearch, tune_id: str) -> Trial | None:
        """Ask Optuna, and declare what it said before anything runs; None if it repeats itself."""
        assert self.made.space.search is not None
        settings, cell = self.made.space.search, search.cell
        asked = f"{tune_id}-{search.left}"
        values = search.ask(asked)
        config = cell.config(values, settings.overrides, settings.seed)
        digest = config.digest()
        if digest in self.waiting:
            search.rename(asked, tune_id)
            return self.waiting.pop(digest)
        index = max(self.index[cell.name], default=-1) + 1
        self.index[cell.name].append(index)
        trial = Trial(cell, "search", index, config, values, 1, None, "pending")
        declare_one(self.made, trial, self.ledger)
        if digest in self.known:  # trained already, or right now: it counts, and is told as such
            score = self.scores.get(digest)
            search.tell(asked, "finished" if score is not None else "pruned", score)
            return None
        self.known.add(digest)
        search.rename(asked, tune_id)
        return trial

    def reported(self, tune_id: str, result: Result) -> bool:
        """Take a validation; whether the trial goes on."""
        handed = self.handed[tune_id]
        if "score" not in result or result["score"] is None:
            return True
        step, score = int(result["step"]), float(result["score"])
        handed.best = max(score, handed.best if handed.best is not None else score)
        self.scores[handed.trial.digest] = handed.best
        self.screen.progress(tune_id, handed.trial, step, int(result["steps"]), score)
        if handed.search is None or self.made.space.search is None:
            return True
        handed.search.report(tune_id, step, score)
        if step not in self.made.space.search.rungs or step >= int(result["steps"]):
            return True
        others = self.rungs.setdefault((handed.trial.cell.name, step), [])
        stop = policy.stop_early(score, others)
        others.append(score)
        if stop:
            handed.pruned = True
            reason = f"score {score:.4f} in the lower half at step {step}"
            commit_unfinished(handed.trial.config, self.sink, "pruned", reason)
        return not stop

    def ended(self, tune_id: str, result: Result, failure: Failure | None) -> None:
        """Take the end of a trial: tell Optuna and the screen, record what nobody else could."""
        handed = self.handed.pop(tune_id)
        digest = handed.trial.digest
        if failure is not None and handed.killed is not None:
            failure = Failure(handed.killed)
        if failure is not None and failure.lost:
            self.tries.lost[digest] += 1
            if handed.search is None and self.tries.lost[digest] < policy.MOST_LOST:
                self.queue.append(handed.trial)
            self.screen.lost(tune_id, handed.trial, failure.reason)
            return
        if failure is not None:
            outcome, reason = "failed", failure.reason
            commit_unfinished(handed.trial.config, self.sink, "failed", failure.reason)
        else:
            outcome = "pruned" if handed.pruned else result.get("outcome")
            reason = result.get("reason")
        if outcome is None:  # stopped with the sweep: neither told nor recorded, to be resumed
            self.screen.stopped()
            return
        if outcome == "failed":
            self.tries.note(digest, reason)
        if handed.search is not None:
            handed.search.tell(tune_id, outcome, handed.best)
        self.ends += 1
        if self.ends % policy.FOLD_EVERY == 0:
            fold_quietly(self.ledger)
        self.screen.ended(tune_id, handed.trial, outcome, handed.best, reason)


def fold_quietly(ledger: Ledger) -> None:
    """Fold what is committed; a sweep does not end for it, since nothing is lost without."""
    try:
        fold.fold(ledger.store)
    except Exception as error:  # whatever it is, the next sweep or `tables compact` folds
        log.warning("segprint: not folded for now: %s", error)


def _rungs(made: Plan, ledger: Ledger) -> dict[tuple[str, int], list[float]]:
    """Scores that committed search trials had at each rung, by cell and step."""
    found: dict[tuple[str, int], list[float]] = {}
    if made.space.search is None:
        return found
    cell_of = {t.digest: t.cell.name for t in made.trials if t.stage == "search"}
    for row in ledger.table("steps", set(cell_of)).to_pylist():
        if row["step"] in made.space.search.rungs and row["score_count"]:
            key = (cell_of[row["digest"]], row["step"])
            found.setdefault(key, []).append(row["score_sum"] / row["score_count"])
    return found


def declare(made: Plan, ledger: Ledger) -> None:
    """Note every known trial of the plan that is not noted yet."""
    known = {d.key for d in ledger.studies.declared(made.study, made.revision)}
    for trial in made.trials:
        if _place(made, trial).key not in known:
            declare_one(made, trial, ledger)


def declare_one(made: Plan, trial: Trial, ledger: Ledger) -> None:
    """Note one trial, with what it is and what was searched for it."""
    about = {
        "arm": trial.cell.arm,
        "config": trial.config.plain(),
        "values": trial.values,
        "workers": trial.workers,
    }
    ledger.studies.declare(_place(made, trial), about)


def _place(made: Plan, trial: Trial) -> Declared:
    """Where a trial stands in its study."""
    return Declared(
        made.study, made.revision, trial.cell.name, trial.stage, trial.index, trial.digest
    )

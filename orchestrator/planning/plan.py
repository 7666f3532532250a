"""The plan of a study: which trials a space wants, which of them the ledger has, which are left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from orchestrator.ledger.commits import Commit
from orchestrator.ledger.declared import Declaration, Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import selection, trial_state
from orchestrator.planning.cells import Cell
from orchestrator.planning.objectives import Objectives
from orchestrator.planning.resources import workers_of
from orchestrator.planning.selection import Standing
from orchestrator.planning.trainings import readable
from orchestrator.planning.validation import check
from search_spaces import Search, Space
from search_spaces._parameters import Values
from search_spaces._workers import Workers
from trainables.config import Config
from trainables.part import unknown
from trainables.schemas import Outcome


@dataclass(frozen=True)
class Trial:
    """One run that a study wants."""

    cell: Cell
    stage: str
    """``search`` for a trial of the hyperparameter search, ``final`` for one that is compared."""
    index: int
    """The number of a search trial, the seed of a final trial."""
    config: Config
    values: Values
    """The values of the searched parameters; empty where nothing is searched."""
    workers: Workers
    outcome: Outcome | None
    """The committed outcome that counts for this stage; None if there is none."""
    state: trial_state.State

    @property
    def digest(self) -> str:
        return self.config.digest()

    @property
    def label(self) -> str:
        """The name of the trial in messages."""
        return f"{self.cell.name} {self.stage} {self.index}"


class ExampleConfigs(NamedTuple):
    """One config of each stage of a searched cell, from which costs are estimated."""

    search: Config
    final: Config


@dataclass
class Plan:
    """A study compared with the ledger."""

    study: str
    space: Space
    cells: list[Cell]
    revision: str
    """A hash of the space, the data and the formulas; results of different revisions are not
    averaged."""
    trials: list[Trial] = field(default_factory=list[Trial])
    """All trials that are known: enumerated ones, suggested ones, and the final trials of searches
    that are over."""
    suggestions_left: dict[str, int] = field(default_factory=dict[str, int])
    """Per cell, the number of search trials that Optuna has not suggested yet."""
    finals_waiting: dict[str, int] = field(default_factory=dict[str, int])
    """Per cell, the number of final trials that wait for the end of the search."""
    examples: dict[str, ExampleConfigs] = field(default_factory=dict[str, ExampleConfigs])
    """Configs to estimate costs from, per searched cell."""
    next_index: dict[str, int] = field(default_factory=dict[str, int])
    """Per searched cell, the lowest index above those of all declared search trials, including
    those whose values no longer fit the space."""
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """The number of failed attempts, by digest of the known trials."""
    without_winner: list[str] = field(default_factory=list[str])
    """Cells whose search ended without a usable trial."""
    standings: dict[str, dict[str, Standing]] = field(
        default_factory=dict[str, "dict[str, Standing]"]
    )
    """Per cell whose search is over, the standing of each of its trials, by digest."""
    without_weights: list[Trial] = field(default_factory=list[Trial])
    """Trials of a read-only space that are left out, because their weights are not kept."""
    kept: dict[str, int] = field(default_factory=dict[str, int])
    """The bytes of the weights in the store, by digest of the training."""
    budget_spent: str | None = None
    """The part of the budget that is spent, if a sweep ended because of it."""

    @property
    def pending(self) -> list[Trial]:
        """Known trials to run, including those whose lease says that they are running."""
        return [t for t in self.trials if t.state in ("pending", "running")]

    @property
    def keeps(self) -> bool:
        """Whether the study's trials keep their weights."""
        return self.space.keep != "none"

    @property
    def complete(self) -> bool:
        """Whether nothing is left to run."""
        return not self.pending and not self.suggestions_left and not self.finals_waiting

    @property
    def unknown(self) -> int:
        """The number of trials whose configs depend on results that are missing."""
        return sum(self.suggestions_left.values()) + sum(self.finals_waiting.values())


def make_plan(
    study: str, space: Space, ledger: Ledger, forgiven: Mapping[str, int] | None = None
) -> Plan:
    """Compare a space with the ledger; this changes nothing.

    ``forgiven`` is the number of failed attempts per digest that do not count, so that trials which
    were given up are pending again.

    Raises:
        ValueError: the space describes no valid config, or ``warm_start`` names an unknown study.
    """
    _check_warm_start(space, ledger)
    cells = check(space)
    plan = Plan(study, space, cells, _revision(space, cells))
    records = _StudyRecords(ledger, study, forgiven or {})
    plan.kept = ledger.weights.sizes()
    for cell in plan.cells:
        if cell.searched:
            _add_searched_cell(plan, cell, records)
        else:
            workers = workers_of(space, cell, "final")
            plan.trials += records.final_trials(cell, {}, space.replicates, workers)
    if space.read_only:
        plan.without_weights = [t for t in plan.pending if not readable(t.config, plan.kept)]
        left_out = {t.digest for t in plan.without_weights}
        plan.trials = [t for t in plan.trials if t.digest not in left_out]
    plan.failures = {t.digest: records.failures.get(t.digest, 0) for t in plan.trials}
    return plan


def _check_warm_start(space: Space, ledger: Ledger) -> None:
    for study in space.search.warm_start if space.search is not None else ():
        names = ledger.studies.names(retired=True)
        if study not in names:
            raise unknown("Search: warm_start study", study, names)


def _revision(space: Space, cells: Iterable[Cell]) -> str:
    """Hash the space and one digest per cell, which covers data and formula versions."""
    digests = [cell.config(cell.example, {}, 0).digest() for cell in cells]
    return hashlib.sha256(f"{space!r} {digests}".encode()).hexdigest()[:12]


def _add_searched_cell(plan: Plan, cell: Cell, records: _StudyRecords) -> None:
    """Add a cell's search trials and, once the search is over, the final trials of its winner."""
    space, search = plan.space, plan.space.search
    assert search is not None
    plan.examples[cell.name] = ExampleConfigs(
        search=cell.config(cell.example, search.overrides, search.seed),
        final=cell.config(cell.example, {}, 0),
    )
    plan.next_index[cell.name] = records.next_index(cell)
    trials = records.search_trials(cell, search, workers_of(space, cell, "search"))
    plan.trials += trials
    left = search.trials - len(trials)
    if left > 0:
        plan.suggestions_left[cell.name] = left
    if left > 0 or any(t.state in ("pending", "running") for t in trials):
        plan.finals_waiting[cell.name] = space.replicates
        return
    standings = records.standings(search)
    plan.standings[cell.name] = {
        t.digest: standings[t.digest] for t in trials if t.digest in standings
    }
    winner = _winner(trials, plan.standings[cell.name])
    if winner is None:
        plan.without_winner.append(cell.name)
        return
    workers = workers_of(space, cell, "final")
    plan.trials += records.final_trials(cell, winner.values, space.replicates, workers)


def _winner(trials: list[Trial], standings: Mapping[str, Standing]) -> Trial | None:
    """Return the search trial whose values the final trials take, if one is eligible."""
    outcomes: dict[str, Outcome] = {t.digest: t.outcome for t in trials if t.outcome is not None}
    digest = selection.best(standings, outcomes)
    return next((t for t in trials if t.digest == digest), None)


class _StudyRecords:
    """The ledger's records of one study, which are listed once and read only where needed."""

    def __init__(self, ledger: Ledger, study: str, forgiven: Mapping[str, int]) -> None:
        self.ledger, self.forgiven = ledger, forgiven
        self.commits: dict[str, Commit] = ledger.commits()
        self.failures = ledger.failed_attempts.counts()
        self.leases = ledger.leases.ages()
        self.declared_searches: dict[str, list[Declared]] = {}
        """Declared search trials, by cell."""
        for declared in ledger.studies.declared(study, whole=True):
            if declared.stage == "search":
                self.declared_searches.setdefault(declared.cell, []).append(declared)
        self._standings: dict[str, Standing] | None = None

    def trial(
        self, cell: Cell, stage: str, index: int, config: Config, values: Values, workers: Workers
    ) -> Trial:
        """Return a trial with its outcome and state."""
        digest = config.digest()
        commit = self.commits.get(digest)
        outcome = commit.outcome if commit else None
        if outcome == "pruned" and not trial_state.counts_as_done(outcome, stage):
            outcome = None
        failures, forgiven = self.failures.get(digest, 0), self.forgiven.get(digest, 0)
        state = trial_state.state(outcome, failures, self.leases.get(digest), forgiven)
        return Trial(cell, stage, index, config, values, workers, outcome, state)

    def final_trials(
        self, cell: Cell, values: Values, replicates: int, workers: Workers
    ) -> list[Trial]:
        """Return the final trials of a cell, one per seed."""
        return [
            self.trial(cell, "final", seed, cell.config(values, {}, seed), values, workers)
            for seed in range(replicates)
        ]

    def next_index(self, cell: Cell) -> int:
        """Return the lowest index above those of all declared search trials of a cell."""
        indices = (d.index for d in self.declared_searches.get(cell.name, []))
        return max(indices, default=-1) + 1

    def search_trials(self, cell: Cell, search: Search, workers: Workers) -> list[Trial]:
        """Return the cell's suggested trials whose values fit the space, in order.

        A trial that exceeds the limit on passes is kept if it has ended, and left out if not.
        """
        objectives = Objectives.of(search)
        trials: dict[int, Trial] = {}
        for declared in self.declared_searches.get(cell.name, []):
            values: Values = self._details[declared.key]["values"]
            if declared.index in trials or not cell.accepts(values):
                continue  # the space has changed since the declaration
            try:
                config = cell.config(values, search.overrides, search.seed)
            except ValueError:
                continue  # valid then; only the ends of each range are checked beforehand
            if config.digest() != declared.digest:
                continue
            trial = self.trial(cell, "search", declared.index, config, values, workers)
            ended = trial.state in ("done", "given up")
            if ended or objectives.affords(cell.config(values, {}, 0)):
                trials[declared.index] = trial
        return [trials[index] for index in sorted(trials)][: search.trials]

    @cached_property
    def _details(self) -> dict[str, Declaration]:
        """The declared values of every search trial, read once for all cells."""
        return self.ledger.studies.declarations(
            d for ds in self.declared_searches.values() for d in ds
        )

    def standings(self, search: Search) -> dict[str, Standing]:
        """Return the standings of all search trials of the study, read once for all cells."""
        if self._standings is None:
            digests = {d.digest for ds in self.declared_searches.values() for d in ds}
            self._standings = Objectives.of(search).standings(self.ledger, digests)
        return self._standings

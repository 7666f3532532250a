"""What a study still has to run: declared minus committed, and what is yet to be suggested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.ledger.commits import Commit
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declaration, Declared
from orchestrator.planning import selection, trial_state
from orchestrator.planning.cells import Cell, check
from orchestrator.planning.objectives import Objectives
from orchestrator.planning.resources import Workers
from orchestrator.planning.selection import Standing
from search_spaces import Space
from search_spaces._holes import Values, fits
from trainables.config import Config
from trainables.part import unknown
from trainables.schemas import Outcome


@dataclass(frozen=True)
class Trial:
    """One run that a study wants."""

    cell: Cell
    stage: str
    """``search``, or ``final`` for what the comparison is made of."""
    index: int
    """Number of the search trial, or the seed of the final one."""
    config: Config
    values: Values
    workers: Workers
    outcome: Outcome | None
    state: trial_state.State

    @property
    def digest(self) -> str:
        return self.config.digest()

    @property
    def label(self) -> str:
        """What progress and status call it."""
        return f"{self.cell.name} {self.stage} {self.index}"


@dataclass
class Plan:
    """A study against the ledger."""

    study: str
    space: Space
    cells: list[Cell]
    revision: str = ""
    """Of the space, the data and the formulas: results of another revision are not averaged."""
    trials: list[Trial] = field(default_factory=list[Trial])
    """All trials known so far: enumerated, suggested, and final ones whose search is over."""
    unsuggested: dict[str, int] = field(default_factory=dict[str, int])
    """Per cell, search trials that Optuna was not asked for yet."""
    unchosen: dict[str, int] = field(default_factory=dict[str, int])
    """Per cell, final trials that wait for the search to end."""
    examples: dict[str, tuple[Config, Config]] = field(
        default_factory=dict[str, "tuple[Config, Config]"]
    )
    """Per searched cell, a config of its search and one of its final trial, to estimate costs."""
    free: dict[str, int] = field(default_factory=dict[str, int])
    """Per searched cell, the first number that no search trial was ever declared under, whether or
    not the space still has room for it."""
    failures: int = 0
    """Failed attempts at the known trials."""
    hopeless: list[str] = field(default_factory=list[str])
    """Cells whose search ended without a single usable trial."""
    standings: dict[str, dict[str, Standing]] = field(
        default_factory=dict[str, "dict[str, Standing]"]
    )
    """Per cell whose search is over, how good each of its trials is."""

    spent: str | None = None
    """What of the budget was spent when a sweep ended for it."""

    @property
    def pending(self) -> list[Trial]:
        """Known trials to run now (those that seem to be running included)."""
        return [t for t in self.trials if t.state in ("pending", "running")]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to run."""
        return not self.pending and not self.unsuggested and not self.unchosen


def plan(
    study: str, space: Space, ledger: Ledger, forgiven: Mapping[str, int] | None = None
) -> Plan:
    """Compare a space with the ledger; changes nothing.

    ``forgiven`` are failures that do not count, by digest: what was given up is pending again.

    Raises:
        ValueError: the space asks for something that no config can be.
    """
    made = Plan(study, space, check(space))
    made.revision = _revision(made)
    known = _Known(ledger, study, forgiven or {})
    for other in space.search.warm_start if space.search is not None else ():
        names = ledger.studies.names(retired=True)
        if other not in names:
            raise unknown("Search: warm_start study", other, names)
    for cell in made.cells:
        if not cell.searched:
            made.trials += [
                known.trial(cell, "final", seed, cell.config({}, {}, seed), {}, workers=1)
                for seed in range(space.replicates)
            ]
            continue
        assert space.search is not None
        made.examples[cell.name] = (
            cell.config(cell.example, space.search.overrides, space.search.seed),
            cell.config(cell.example, {}, 0),
        )
        taken = (d.index for d in known.searched.get(cell.name, []))
        made.free[cell.name] = max(taken, default=-1) + 1
        search = known.search(cell, space)
        made.trials += search
        if len(search) < space.search.trials:
            made.unsuggested[cell.name] = space.search.trials - len(search)
        if cell.name in made.unsuggested or any(t.state in ("pending", "running") for t in search):
            made.unchosen[cell.name] = space.replicates
            continue
        standings = known.standings(Objectives.of(space.search))
        made.standings[cell.name] = {
            t.digest: standings[t.digest] for t in search if t.digest in standings
        }
        chosen = _best(search, made.standings[cell.name])
        if chosen is None:
            made.hopeless.append(cell.name)
            continue
        made.trials += [
            known.trial(
                cell,
                "final",
                seed,
                cell.config(chosen.values, {}, seed),
                chosen.values,
                workers=space.workers,
            )
            for seed in range(space.replicates)
        ]
    made.failures = sum(known.failures.get(t.digest, 0) for t in made.trials)
    return made


def _revision(made: Plan) -> str:
    """A hash of the space and of one digest per cell, which covers data and formula versions."""
    digests = [c.config(c.example, {}, 0).digest() for c in made.cells]
    return hashlib.sha256(f"{made.space!r} {digests}".encode()).hexdigest()[:12]


class _Known:
    """The ledger as one plan sees it: three listings, and reads only where they are needed."""

    def __init__(self, ledger: Ledger, study: str, forgiven: Mapping[str, int]) -> None:
        self.ledger, self.study, self.forgiven = ledger, study, forgiven
        self.commits: dict[str, Commit] = ledger.commits()
        self.failures = ledger.failed_attempts.counts()
        self.leases = ledger.leases.ages()
        self.declared = ledger.studies.declared(study, whole=True)
        self.searched: dict[str, list[Declared]] = {}
        for d in self.declared:
            if d.stage == "search":
                self.searched.setdefault(d.cell, []).append(d)
        self._standings: dict[str, Standing] | None = None

    def trial(
        self, cell: Cell, stage: str, index: int, config: Config, values: Values, workers: Workers
    ) -> Trial:
        digest = config.digest()
        commit = self.commits.get(digest)
        outcome = commit.outcome if commit else None
        if outcome is not None and not trial_state.counts_as_done(outcome, stage):
            outcome = "failed" if outcome == "failed" else None
        failures, forgiven = self.failures.get(digest, 0), self.forgiven.get(digest, 0)
        state = trial_state.state(outcome, failures, self.leases.get(digest), forgiven)
        return Trial(cell, stage, index, config, values, workers, outcome, state)

    def search(self, cell: Cell, space: Space) -> list[Trial]:
        """The cell's suggested trials whose values still fit the space, in order.

        One that ended and breaks a limit was tried all the same; one that did not end is left out.
        """
        assert space.search is not None
        goals = Objectives.of(space.search)
        found: dict[int, Trial] = {}
        for d in self.searched.get(cell.name, []):
            values: dict[str, Any] = self.about[d.key]["values"]
            if d.index in found or not fits(cell.template, values) or not cell.keeps(values):
                continue  # the space has changed since
            config = cell.config(values, space.search.overrides, space.search.seed)
            if config.digest() != d.digest:
                continue
            trial = self.trial(cell, "search", d.index, config, values, workers=1)
            if trial.state in ("done", "given up") or goals.affords(cell.config(values, {}, 0)):
                found[d.index] = trial
        return [found[i] for i in sorted(found)][: space.search.trials]

    @cached_property
    def about(self) -> dict[str, Declaration]:
        """What was declared of every searched trial: read once, for all cells."""
        return self.ledger.studies.declarations(d for mine in self.searched.values() for d in mine)

    def standings(self, goals: Objectives) -> dict[str, Standing]:
        """Of every search trial that the study declared: read once, for all cells."""
        if self._standings is None:
            searched = {d.digest for mine in self.searched.values() for d in mine}
            self._standings = goals.standings(self.ledger, searched)
        return self._standings


def _best(search: list[Trial], standings: dict[str, Standing]) -> Trial | None:
    outcomes: dict[str, Outcome] = {t.digest: t.outcome for t in search if t.outcome is not None}
    winner = selection.best(standings, outcomes)
    return next((t for t in search if t.digest == winner), None)

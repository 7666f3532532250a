"""Optuna, asked and told, with its memory rebuilt from the ledger."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orchestrator.planning.cells import Cell
from orchestrator.planning.objectives import Objectives
from orchestrator.planning.plan import Plan
from orchestrator.planning.selection import Standing
from orchestrator.search.history import PastTrial, SearchHistory
from search_spaces import Choice, Hole, Integer, Search, Uniform, walk
from search_spaces._holes import Values
from trainables.runtime.seeding import generator
from trainables.schemas import Outcome

LEARNED, TRIES = 10, 500
"""Suggestions in a row that no config can be: after so many they are drawn at random, since what
failed teaches TPE nothing; after so many more the search ends."""
_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


class CellSearch:
    """The search in one cell: a pure function of the seed and of what is in the ledger.

    Each suggestion has a sampler of its own, seeded by its number, so that one process or several,
    one after the other, ask for the same.
    """

    def __init__(self, cell: Cell, past: list[PastTrial], search: Search) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.cell, self._search, self._goals = cell, search, Objectives.of(search)
        upwards = [optuna.study.StudyDirection.MAXIMIZE] * len(search.objectives)
        self.study = optuna.create_study(study_name=cell.name, directions=upwards)
        mine = [p for p in past if p.own]
        self._number = len(mine)
        self._again = 0
        for i, p in enumerate(past):
            if p.outcome is not None:
                self.study.add_trial(self._frozen(p))
            elif p not in past[:i]:  # a suggestion may repeat an earlier one
                self.study.enqueue_trial(p.values)  # first in line
                self._again += 1
        self.left = search.trials - len(mine) + self._again
        self._asked: dict[str, optuna.trial.Trial] = {}

    def ask(self, name: str) -> Values | None:
        """Values for the next trial, which is called by a name; None if no config can be found.

        What breaks a constraint, or makes no config, is told as failed and asked again.
        """
        self.left -= 1
        if self._again > 0:
            self._again -= 1
        else:
            self._number += 1
        for attempt in range(TRIES):
            self.study.sampler = self._sampler(attempt)
            trial = self.study.ask()
            suggest(trial, self.cell.template)
            if self._possible(trial.params):
                self._asked[name] = trial
                return trial.params
            self.study.tell(trial, state=TrialState.FAIL)
        self.left = 0
        return None

    def _sampler(self, attempt: int) -> optuna.samplers.BaseSampler:
        words = (self._search.seed, self.cell.name, self._number, attempt, "optuna")
        seed = generator(*words).initial_seed() % 2**32
        if attempt >= LEARNED:
            return optuna.samplers.RandomSampler(seed=seed)
        startup = max(2, self._search.trials // 4)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)

    def _possible(self, values: Values) -> bool:
        """Whether it is worth training."""
        return self.cell.possible(values) and self._goals.affords(self.cell.config(values, {}, 0))

    def report(self, name: str, step: int, score: float) -> None:
        """An intermediate score."""
        if not self._goals.several and math.isfinite(score):
            self._asked[name].report(score, step)

    def tell(self, name: str, outcome: Outcome, standing: Standing | None) -> None:
        """How a trial ended: a result only if it finished with finite numbers."""
        trial = self._asked.pop(name)
        state = _state(outcome, standing)
        if state != TrialState.COMPLETE:
            self.study.tell(trial, state=state)
            return
        assert standing is not None
        for key, value in self._broken(standing).items():
            trial.set_constraint(key, value)
        self.study.tell(trial, list(standing.values))

    def _broken(self, standing: Standing) -> dict[str, float]:
        limits = [name for name, _, _ in self._goals.limits]
        return dict(zip(limits, standing.excess, strict=True))

    def _frozen(self, past: PastTrial) -> optuna.trial.FrozenTrial:
        """A committed trial as Optuna remembers it."""
        holes = dict(walk(self.cell.template))
        state = _state(past.outcome, past.standing)
        complete = past.standing if state == TrialState.COMPLETE else None
        broken = self._broken(complete) if complete is not None else {}
        return optuna.trial.create_trial(
            state=state,
            values=list(complete.values) if complete is not None else None,
            params=past.values,
            distributions={path: _distribution(holes[path]) for path in past.values},
            intermediate_values={} if self._goals.several else dict(past.reports),
            system_attrs={f"constraints:{name}": value for name, value in broken.items()},
            user_attrs={"digest": past.digest},
        )


def searches(made: Plan, memory: SearchHistory) -> list[CellSearch]:
    """The searches that have something left to ask."""
    if made.space.search is None:
        return []
    cells = [cell for cell in made.cells if cell.searched]
    found = [CellSearch(cell, memory.past(cell), made.space.search) for cell in cells]
    return [search for search in found if search.left > 0]


def write(made: Plan, memory: SearchHistory, file: Path) -> dict[str, int]:
    """Keep what each searched cell committed as an Optuna study in a new SQLite file.

    Objectives point upwards there, as for the search: one with a minus has its values negated.
    Returns how many trials each study has, by its name.
    """
    search = made.space.search
    written: dict[str, int] = {}
    for cell in made.cells if search is not None else []:
        if not cell.searched:
            continue
        assert search is not None
        past = [p for p in memory.past(cell) if p.own and p.outcome is not None]
        known = CellSearch(cell, past, search).study
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(
                storage=f"sqlite:///{file}",
                study_name=f"{made.study}/{cell.name}",
                directions=known.directions,
            )
            study.set_metric_names(list(search.objectives))
        study.set_user_attr("question", made.space.question)
        study.set_user_attr("revision", made.revision)
        study.add_trials(known.trials)
        written[study.study_name] = len(past)
    return written


def _state(outcome: Outcome | None, standing: Standing | None) -> TrialState:
    state = _STATES.get(outcome or "failed", TrialState.FAIL)
    return TrialState.FAIL if state == TrialState.COMPLETE and standing is None else state


def suggest(trial: Any, template: Any, path: str = "") -> None:
    """Ask Optuna for every hole that applies, define-by-run: a choice opens its own holes."""
    if isinstance(template, Hole):
        distribution = _distribution(template)
        if isinstance(distribution, CategoricalDistribution):
            name = trial.suggest_categorical(path, distribution.choices)
            assert isinstance(template, Choice)
            suggest(trial, template.values[name], f"{path}.{name}")
        elif isinstance(distribution, FloatDistribution):
            trial.suggest_float(path, distribution.low, distribution.high, log=distribution.log)
        elif isinstance(distribution, IntDistribution):
            trial.suggest_int(path, distribution.low, distribution.high)
    elif isinstance(template, Mapping):
        items: Mapping[str, Any] = template
        for key, inner in items.items():
            suggest(trial, inner, f"{path}.{key}" if path else key)


def _distribution(hole: Hole) -> BaseDistribution:
    if isinstance(hole, Choice):
        return CategoricalDistribution(list(hole.values))
    if isinstance(hole, Uniform):
        return FloatDistribution(hole.low, hole.high, log=hole.log)
    if isinstance(hole, Integer):
        return IntDistribution(hole.low, hole.high)
    raise TypeError(f"{type(hole).__name__} is enumerated, not searched")

"""The Optuna search of each cell, rebuilt from the ledger at the start of a round."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

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
from search_spaces import Choice, Integer, Parameter, Search, Uniform, walk
from search_spaces._domains import on_step
from search_spaces._parameters import Values
from trainables.runtime.seeding import generator
from trainables.schemas import Outcome

TPE_ATTEMPTS = 10
"""After so many invalid suggestions in a row, values are drawn at random, since TPE does not learn
from failed trials."""
MAX_ATTEMPTS = 500
"""After so many invalid suggestions in a row, the search ends."""
_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


class _OnSteps(optuna.samplers.BaseSampler):
    """Suggestions of the next base class, with a range's steps as they are written in decimals."""

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        values = super().sample_relative(study, trial, search_space)  # pyright: ignore[reportAbstractUsage]
        return {name: _on_step(value, search_space[name]) for name, value in values.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        value = super().sample_independent(  # pyright: ignore[reportAbstractUsage]
            study, trial, param_name, param_distribution
        )
        return _on_step(value, param_distribution)


class _TPESampler(_OnSteps, optuna.samplers.TPESampler):
    """TPE on steps."""


class _RandomSampler(_OnSteps, optuna.samplers.RandomSampler):
    """Random draws on steps."""


def _on_step(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return on_step(value, distribution.low, distribution.step)
    return value


class CellSearch:
    """The search in one cell, a pure function of its seed and of the ledger.

    Each suggestion has a sampler of its own, seeded by the suggestion's number. So a search that
    is interrupted and continued makes the same suggestions as one that is not.
    """

    def __init__(self, cell: Cell, past: list[PastTrial], search: Search) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.cell, self._search, self._objectives = cell, search, Objectives.of(search)
        directions = [optuna.study.StudyDirection.MAXIMIZE] * len(search.objectives)
        self.study = optuna.create_study(study_name=cell.name, directions=directions)
        own = sum(not p.warm_start for p in past)
        self._number = own
        self._enqueued = 0
        for i, p in enumerate(past):
            if p.outcome is not None:
                self.study.add_trial(self._frozen(p))
            elif p not in past[:i]:  # a suggestion may repeat an earlier one
                self.study.enqueue_trial(p.values)  # the next ask returns it
                self._enqueued += 1
        self.left = search.trials - own + self._enqueued
        self._running: dict[str, optuna.trial.Trial] = {}

    def ask(self, name: str) -> Values | None:
        """Return the values of the next trial; None if no valid suggestion is found.

        Optuna learns that an invalid suggestion failed, and is asked again. ``name`` identifies
        the trial in :meth:`report` and :meth:`tell`.
        """
        self.left -= 1
        if self._enqueued > 0:
            self._enqueued -= 1
        else:
            self._number += 1
        for attempt in range(MAX_ATTEMPTS):
            self.study.sampler = self._sampler(attempt)
            trial = self.study.ask()
            suggest(trial, self.cell.template)
            if self._affordable(trial.params):
                self._running[name] = trial
                return trial.params
            self.study.tell(trial, state=TrialState.FAIL)
        self.left = 0
        return None

    def _sampler(self, attempt: int) -> optuna.samplers.BaseSampler:
        key = (self._search.seed, self.cell.name, self._number, attempt, "optuna")
        seed = generator(*key).initial_seed() % 2**32
        if attempt >= TPE_ATTEMPTS:
            return _RandomSampler(seed=seed)
        startup = max(2, self._search.trials // 4)
        return _TPESampler(seed=seed, n_startup_trials=startup)

    def _affordable(self, values: Values) -> bool:
        """Whether values give valid configs, of a search and a final trial, within the passes."""
        return (
            self.cell.valid(values)
            and self.cell.valid(values, self._search.overrides)
            and self._objectives.affords(self.cell.config(values, {}, 0))
        )

    def report(self, name: str, step: int, score: float) -> None:
        """Give Optuna the validation score of a running trial."""
        if not self._objectives.several and math.isfinite(score):
            self._running[name].report(score, step)

    def tell(self, name: str, outcome: Outcome, standing: Standing | None) -> None:
        """Give Optuna the outcome of a trial, and its values if it finished with finite ones."""
        trial = self._running.pop(name)
        state = _state(outcome, standing)
        if state != TrialState.COMPLETE:
            self.study.tell(trial, state=state)
            return
        assert standing is not None
        for key, value in self._constraints(standing).items():
            trial.set_constraint(key, value)
        self.study.tell(trial, list(standing.values))

    def _constraints(self, standing: Standing) -> dict[str, float]:
        limits = [name for name, _, _ in self._objectives.limits]
        return dict(zip(limits, standing.excess, strict=True))

    def _frozen(self, past: PastTrial) -> optuna.trial.FrozenTrial:
        """Return a committed trial as an Optuna trial."""
        parameters = dict(walk(self.cell.template))
        state = _state(past.outcome, past.standing)
        complete = past.standing if state == TrialState.COMPLETE else None
        constraints = self._constraints(complete) if complete is not None else {}
        return optuna.trial.create_trial(
            state=state,
            values=list(complete.values) if complete is not None else None,
            params=past.values,
            distributions={path: _distribution(parameters[path]) for path in past.values},
            intermediate_values={} if self._objectives.several else dict(past.reports),
            system_attrs={f"constraints:{name}": value for name, value in constraints.items()},
            user_attrs={"digest": past.digest},
        )


def unfinished_searches(plan: Plan, history: SearchHistory) -> list[CellSearch]:
    """Return the searches that have trials left to suggest."""
    search = plan.space.search
    if search is None:
        return []
    cells = [cell for cell in plan.cells if cell.searched]
    searches = [CellSearch(cell, history.trials(cell), search) for cell in cells]
    return [s for s in searches if s.left > 0]


def export_sqlite(plan: Plan, history: SearchHistory, file: Path) -> dict[str, int]:
    """Write the committed trials of each searched cell as an Optuna study to a new SQLite file.

    Every objective is maximised there, as in the search: an objective with a minus sign has its
    values negated. Returns the number of trials of each Optuna study, by name.
    """
    search = plan.space.search
    if search is None:
        return {}
    written: dict[str, int] = {}
    for cell in (c for c in plan.cells if c.searched):
        past = [t for t in history.trials(cell) if not t.warm_start and t.outcome is not None]
        known = CellSearch(cell, past, search).study
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(
                storage=f"sqlite:///{file}",
                study_name=f"{plan.study}/{cell.name}",
                directions=known.directions,
            )
            study.set_metric_names(list(search.objectives))
        study.set_user_attr("question", plan.space.question)
        study.set_user_attr("revision", plan.revision)
        study.add_trials(known.trials)
        written[study.study_name] = len(past)
    return written


def _state(outcome: Outcome | None, standing: Standing | None) -> TrialState:
    state = _STATES.get(outcome or "failed", TrialState.FAIL)
    return TrialState.FAIL if state == TrialState.COMPLETE and standing is None else state


def suggest(trial: optuna.trial.BaseTrial, template: Any, path: str = "") -> None:
    """Suggest a value for every active parameter, define-by-run.

    Choices come before the parameters that they activate.
    """
    if isinstance(template, Parameter):
        distribution = _distribution(template)
        if isinstance(distribution, CategoricalDistribution):
            option = trial.suggest_categorical(path, distribution.choices)
            assert isinstance(template, Choice)
            suggest(trial, template.fields(option), f"{path}.{option}")
        elif isinstance(distribution, FloatDistribution):
            low, high, step = distribution.low, distribution.high, distribution.step
            trial.suggest_float(path, low, high, step=step, log=distribution.log)
        elif isinstance(distribution, IntDistribution):
            trial.suggest_int(path, distribution.low, distribution.high, step=distribution.step)
    elif isinstance(template, Mapping):
        items = cast("Mapping[str, Any]", template)
        for key, inner in items.items():
            suggest(trial, inner, f"{path}.{key}" if path else key)


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.options)
    if isinstance(parameter, Uniform):
        low, high = parameter.low, parameter.high
        return FloatDistribution(low, high, log=parameter.log, step=parameter.step)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, step=parameter.step or 1)
    raise TypeError(f"{type(parameter).__name__} is enumerated, not searched")

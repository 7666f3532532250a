"""Optuna, asked through Ray Tune's OptunaSearch, with its memory rebuilt from the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ray.tune.search.optuna import OptunaSearch

from orchestrator.cells import Cell, Past, Values
from search_spaces import Choice, Hole, Integer, Uniform, walk
from trainables.draws import generator
from trainables.record import Outcome

NAME = "cell"
SCORE = "score"


class CellSearch:
    """The search in one cell: a pure function of the seed and of what is in the ledger."""

    def __init__(self, cell: Cell, past: list[Past], trials: int, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.cell = cell
        interrupted = [
            p for i, p in enumerate(past) if p.outcome is None and p not in past[:i]
        ]  # a suggestion may repeat an earlier one
        self.left = trials - len(past) + len(interrupted)
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize")
        for p in interrupted:
            study.enqueue_trial(p.values)  # first in line
        for p in past:
            if p.outcome is not None:
                study.add_trial(_frozen(cell, p))
        draws = generator(seed, cell.name, len(past), "optuna").initial_seed() % 2**32
        sampler = optuna.samplers.TPESampler(seed=draws, n_startup_trials=max(2, trials // 4))
        self._names: dict[str, str] = {}
        self._searcher = OptunaSearch(
            lambda trial: suggest(trial, cell.template),
            metric=SCORE,
            mode="max",
            sampler=sampler,
            storage=storage,
            study_name=NAME,
        )

    def ask(self, trial_id: str) -> Values:
        """Values for the next trial."""
        self.left -= 1
        values = self._searcher.suggest(trial_id)
        assert values is not None
        return values

    def rename(self, asked: str, tune_id: str) -> None:
        """Give a suggestion the name of the Tune trial that runs it."""
        self._names[tune_id] = asked

    def report(self, trial_id: str, step: int, score: float) -> None:
        """An intermediate score."""
        self._searcher.on_trial_result(
            self._names.get(trial_id, trial_id), {SCORE: score, "training_iteration": step}
        )

    def tell(self, trial_id: str, outcome: Outcome, score: float | None) -> None:
        """How a trial ended: pruned and failed ones are told as such, not as results."""
        trial_id = self._names.get(trial_id, trial_id)
        if outcome == "finished" and score is not None:
            self._searcher.on_trial_complete(trial_id, {SCORE: score})
        else:
            self._searcher.on_trial_complete(trial_id, None, error=outcome != "pruned")


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


def _frozen(cell: Cell, past: Past) -> optuna.trial.FrozenTrial:
    """A committed trial as Optuna remembers it."""
    holes = dict(walk(cell.template))
    states = {
        "finished": optuna.trial.TrialState.COMPLETE,
        "pruned": optuna.trial.TrialState.PRUNED,
    }
    state = states.get(past.outcome or "failed", optuna.trial.TrialState.FAIL)
    return optuna.trial.create_trial(
        state=state,
        value=past.score if state == optuna.trial.TrialState.COMPLETE else None,
        params=past.values,
        distributions={path: _distribution(holes[path]) for path in past.values},
    )

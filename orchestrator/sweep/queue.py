"""The trials of a round that wait: known ones, and those that searches will suggest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from orchestrator.planning.cost import RAY_TRAIN_SECONDS, Estimator, remaining
from orchestrator.planning.plan import Plan, Trial
from orchestrator.planning.resources import workers_of
from orchestrator.search.optuna_search import CellSearch
from orchestrator.sweep.packing import Occupied, next_to_start
from orchestrator.sweep.trainings_in_flight import TrainingsInFlight
from search_spaces._workers import Workers, fewest


class Ready(NamedTuple):
    """A known trial, or one that a search has suggested under ``name``."""

    trial: Trial
    search: CellSearch | None = None
    name: str = ""


class Waiting(NamedTuple):
    """A trial that waits, or a search whose next suggestion does, and its size."""

    source: Ready | CellSearch
    workers: Workers
    cell: str
    stage: str


class Queue:
    """Hands out trials: those with more workers first, else known ones before suggestions."""

    def __init__(
        self,
        plan: Plan,
        trials: Sequence[Trial],
        searches: list[CellSearch],
        weights: TrainingsInFlight,
        estimator: Estimator,
    ) -> None:
        self._plan, self._weights, self._estimator = plan, weights, estimator
        self.ready, self.searches = [Ready(trial) for trial in trials], searches

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self.ready and all(search.left <= 0 for search in self.searches)

    @property
    def every(self) -> list[Waiting]:
        """All that wait; a search is not asked again while its last suggestion waits."""
        listed = [Waiting(r, r.trial.workers, r.trial.cell.name, r.trial.stage) for r in self.ready]
        for search in self.searches:
            if search.left > 0 and all(ready.search is not search for ready in self.ready):
                workers = workers_of(self._plan.space, search.cell, "search")
                listed.append(Waiting(search, workers, search.cell.name, "search"))
        return listed

    @property
    def startable(self) -> list[Waiting]:
        """What may start, in order: its weights are not those of a training that runs."""
        free = [w for w in self.every if self._free(w.source)]
        return sorted(free, key=lambda w: -fewest(w.workers))

    def _free(self, source: Ready | CellSearch) -> bool:
        return isinstance(source, CellSearch) or self._weights.free(source.trial.config)

    def take(
        self, slots: int, occupied: int, running: Callable[[], Sequence[Occupied]], now: float
    ) -> Ready | CellSearch | None:
        """Remove and return what starts now (:mod:`orchestrator.sweep.packing`); None if nothing.

        A search stays, behind the others.
        """
        if occupied >= slots:
            return None
        waiting = self.startable
        place = next_to_start(
            [fewest(w.workers) for w in waiting],
            slots,
            occupied,
            running,
            lambda place: self.seconds(waiting[place].cell, waiting[place].stage),
            now,
        )
        if place is None:
            return None
        source = waiting[place].source
        if isinstance(source, CellSearch):
            self.searches.remove(source)
            self.searches.append(source)
        else:
            self.ready.remove(source)
        return source

    def seconds(self, cell: str, stage: str) -> float:
        """Return the estimated duration of a cell's trials in a stage."""
        return self._seconds.get((cell, stage), 0.0)

    @cached_property
    def _seconds(self) -> dict[tuple[str, str], float]:
        """The estimated durations at the start of the round."""
        return {
            (key.cell, key.stage): trial.cost.device_seconds / trial.workers
            + RAY_TRAIN_SECONDS * (trial.workers > 1)
            for key, trial in remaining(self._plan, self._estimator).items()
        }

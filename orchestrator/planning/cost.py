"""The estimated cost of trials, from similar committed trials or from a step timed here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.committed_costs import CommittedCosts, Interval
from orchestrator.planning.plan import Plan
from orchestrator.planning.resources import workers_of
from orchestrator.planning.timed_step import timed_seconds
from orchestrator.planning.trainings import networks_to_train
from search_spaces._workers import most
from trainables.config import Config
from trainables.data import test_cases, tiles, wholes
from trainables.evaluation import predict, probe
from trainables.runtime.environment import device_name
from trainables.runtime.worker_context import best_device

UNTIMED = "cannot be timed here"
"""The source of the cost of a trial whose step raises here."""
START_ONLY = "the time that starting a trial takes"
"""The source of the cost of a trial without training."""
SETUP_SECONDS = 2.0
"""Reading the data and building the network in a process that has run a trial before."""
RAY_TRAIN_SECONDS = 16.0
"""Starting one Ray Train run (measured with two gloo workers on two cores)."""


@dataclass(frozen=True)
class Cost:
    """The estimated device-seconds of one trial."""

    device_seconds: float
    source: str
    """The method of the estimate."""
    low: float
    """Nine of ten trials cost between this and ``high``; half of the estimate if a step was
    timed."""
    high: float
    """Twice the estimate if a step was timed."""
    device: str
    """The device on which it was measured."""


class TrialKey(NamedTuple):
    """A trial's position in its study."""

    cell: str
    stage: str
    number: int
    """The number of a search trial, the seed of a final trial."""


STAGES = ("search", "final")


class RemainingTrial(NamedTuple):
    """The cost of a trial that is left to run, and its number of workers."""

    cost: Cost
    workers: int
    networks: int = 1
    """The number of networks that it trains; 0: it only reads."""


class Estimator:
    """Estimates costs from committed trials of the same kind, else from a timed step."""

    def __init__(self, ledger: Ledger) -> None:
        self._committed = CommittedCosts(ledger, device_name(best_device()))

    def cost(self, config: Config, networks: int | None = None) -> Cost:
        """Estimate the cost of one trial of this config on one device.

        ``networks`` is the number of networks that it trains, by default all that it reads.
        """
        networks = config.mode.runs if networks is None else networks
        kind = self._committed.kind(config)
        if kind is not None:
            steps = max(1, config.train.steps) * networks
            read = self._committed.per_pass.get(kind, Interval(0.0, 0.0, 0.0))
            passes = reading_passes(config)
            low, middle, high = (
                step * steps + one_pass * passes + SETUP_SECONDS
                for step, one_pass in zip(self._committed.per_step[kind], read, strict=True)
            )
            device = self._committed.devices[kind]
            return Cost(middle, "similar committed trials", low, high, device)
        if not config.model.learns:
            return _only_setup(START_ONLY)
        timed = timed_seconds(config)
        if timed is None:
            return _only_setup(UNTIMED)
        seconds = timed.training * networks / config.mode.runs + timed.reading
        low, middle, high = (SETUP_SECONDS + factor * seconds for factor in (0.5, 1.0, 2.0))
        return Cost(middle, "timing a step here", low, high, device_name(best_device()))


def reading_passes(config: Config) -> int:
    """Return the network passes of the test and of the probe of a trial."""
    test = test_cases(config.task, config.test)
    images = predict.passes_per_image(config) * len(wholes(test))
    return images + probe.passes(config, len(tiles(test, config.task.size)))


def _only_setup(source: str) -> Cost:
    device = device_name(best_device())
    return Cost(SETUP_SECONDS, source, SETUP_SECONDS, SETUP_SECONDS, device)


def remaining(plan: Plan, estimator: Estimator) -> dict[TrialKey, RemainingTrial]:
    """Return the cost of every trial that the plan still lacks.

    Trials whose configs are not known yet cost as much as the cell's example config. Trials of one
    config run once, and the others cost nothing.
    """
    trials: dict[TrialKey, RemainingTrial] = {}
    digests = set[str]()
    for t, networks in networks_to_train(plan.pending, plan.kept, keeps=plan.keeps):
        cost = estimator.cost(t.config, networks)
        if t.digest in digests:
            cost = nothing(cost)
        digests.add(t.digest)
        key = TrialKey(t.cell.name, t.stage, t.index)
        trials[key] = RemainingTrial(cost, most(t.workers), networks)
    cells = {cell.name: cell for cell in plan.cells}
    for name, example in plan.examples.items():
        searching, final = (most(workers_of(plan.space, cells[name], s)) for s in STAGES)
        first = plan.next_index.get(name, 0)
        for index in range(first, first + plan.suggestions_left.get(name, 0)):
            cost = estimator.cost(example.search)
            trials[TrialKey(name, "search", index)] = RemainingTrial(cost, searching)
        for index in range(plan.finals_waiting.get(name, 0)):
            cost, networks = estimator.cost(example.final), 1
            if dataclasses.replace(example.final, seed=index).digest() == example.search.digest():
                cost, networks = nothing(cost), 0  # the best search trial is this final trial
            trials[TrialKey(name, "final", index)] = RemainingTrial(cost, final, networks)
    return trials


def nothing(cost: Cost) -> Cost:
    """Return the cost of a trial whose config runs as another one."""
    return dataclasses.replace(cost, device_seconds=0.0, low=0.0, high=0.0)

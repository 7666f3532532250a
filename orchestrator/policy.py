"""What to do, decided from what is known: pure functions, tested without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy import stats

from search_spaces import Budget
from trainables.runtime.heartbeat import EVERY_SECONDS
from trainables.schemas import Outcome

STORE_SECONDS = 900.0
"""How long a sweep waits for a store that is away before a trial is given up for it."""
FOLD_EVERY = 500
"""Trials that end before the driver folds them into the tables, while it runs."""

WILCOXON_P = 0.1
"""Below it, a trial is worse than the best one: validation cases are few."""

State = Literal["done", "running", "pending", "given up"]

MOST_FAILURES = 3
"""After so many failed attempts a config is skipped and named, not tried again."""
LEASE_SECONDS = 75.0
"""A run that gave no sign of life for this long is taken for dead."""
SILENCE_SECONDS = 900.0
"""A trial that its driver has not heard of for this long is killed, and tried again."""
STARTING_SECONDS = 600.0
"""So long, at least, the workers of a trial may take to start: until they do it has no lease. Ray's
own time-outs for that end much sooner, where they work."""
SHORTEST_SILENCE = 1.5 * EVERY_SECONDS
"""A healthy run gives a sign of life only so often, and it may be late."""
WAIT_SECONDS = 600.0
"""How long a sweep waits for resources that the cluster has lost before it says so and ends."""
MOST_LOST = 10
"""How often in one sweep a trial may lose its node; that is not the trial's fault."""


@dataclass(frozen=True)
class Failure:
    """Why a trial ended without a record of its own."""

    reason: str
    lost: bool = False
    """Its node went away, or was taken back: not a failure of what ran there."""


MEMORY_WORDS = ("OutOfMemoryError", "MemoryError", "can't allocate memory", "memory pressure")


def out_of_memory(reason: str | None) -> bool:
    """Whether a trial ended for want of memory, so that smaller parts of a batch may fit.

    >>> out_of_memory("OutOfMemoryError: CUDA out of memory (step, line 9)")
    True
    >>> out_of_memory("ValueError: no such mask"), out_of_memory(None)
    (False, False)
    """
    return reason is not None and any(word in reason for word in MEMORY_WORDS)


def state(
    outcome: Outcome | None, failures: int, lease_age: float | None, forgiven: int = 0
) -> State:
    """What is to be done about one declared trial; ``forgiven`` of its failures do not count.

    >>> state("finished", 0, None), state(None, 0, None), state(None, 0, 5.0)
    ('done', 'pending', 'running')
    >>> state("failed", 1, None), state("failed", 3, None)
    ('pending', 'given up')
    >>> state("failed", 3, None, forgiven=3)
    'pending'
    """
    if outcome is not None and outcome != "failed":
        return "done"
    if failures - forgiven >= MOST_FAILURES:
        return "given up"
    if lease_age is not None and lease_age < LEASE_SECONDS:
        return "running"
    return "pending"


def counts_as_done(outcome: Outcome | None, stage: str) -> bool:
    """Whether a committed outcome answers a stage: a pruned trial answers no final one."""
    if outcome == "pruned":
        return stage == "search"
    return outcome in ("finished", "diverged")


def stop_early(score: float, others: Sequence[float]) -> bool:
    """Whether a trial ends at this rung: it is in the lower half of those that came here.

    Asynchronous successive halving with a reduction of 2 (Li et al. 2020, arXiv 1810.05934). A
    rung that one other trial reached judges nobody.

    >>> stop_early(0.4, [0.5, 0.6]), stop_early(0.7, [0.5, 0.6]), stop_early(0.1, [0.9])
    (True, False, False)
    """
    if len(others) < 2:
        return False
    ranked = sorted([*others, score], reverse=True)
    return score < ranked[(len(ranked) - 1) // 2]


def clearly_worse(cases: Sequence[float], best_cases: Sequence[float]) -> bool:
    """Whether a trial is worse than the best one over the same validation cases, in pairs.

    One-sided Wilcoxon signed-rank test at :data:`WILCOXON_P`, ties split (Wilcoxon 1945; as
    ``optuna.pruners.WilcoxonPruner`` has it, which spares what is better on average too).

    >>> clearly_worse([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.5, 0.6, 0.8])
    True
    >>> clearly_worse([0.1, 0.2, 0.3], [0.2, 0.3, 0.5])  # too few to tell
    False
    """
    count = len(best_cases)
    if len(cases) != count or count < 2 or sum(cases) / count >= sum(best_cases) / count:
        return False
    gaps = [mine - its for mine, its in zip(cases, best_cases, strict=True)]
    test: Any = stats.wilcoxon(gaps, alternative="less", zero_method="zsplit")
    return bool(test.pvalue < WILCOXON_P)


@dataclass(frozen=True)
class Rung:
    """What a trial had when it came to a rung: its score, and that of each validation case."""

    score: float
    cases: tuple[float, ...] = ()


def bracket(pruner: str, index: int, rungs: int) -> int:
    """How many of the first rungs do not judge a search trial, and which trials it is compared to.

    Hyperband (Li et al. 2018, arXiv 1603.06560) hedges over how early to judge: trials go round its
    brackets, the last of which judges nobody.

    >>> [bracket("hyperband", index, rungs=2) for index in range(6)]
    [0, 1, 2, 0, 1, 2]
    """
    return index % (rungs + 1) if pruner == "hyperband" else 0


def pruned(pruner: str, mine: Rung, others: Sequence[Rung]) -> str | None:
    """Why a trial is stopped at a rung that others came to before it; None if it goes on."""
    if pruner in ("halving", "hyperband") and stop_early(mine.score, [o.score for o in others]):
        return "in the lower half"
    if pruner == "wilcoxon" and others:
        leader = max(others, key=lambda other: other.score)
        if clearly_worse(mine.cases, leader.cases):
            return f"worse than the best, {leader.score:.4f}, over the same cases"
    return None


@dataclass(frozen=True)
class Standing:
    """How good a trial is."""

    values: tuple[float, ...]
    """By each objective; larger is better."""
    excess: tuple[float, ...] = ()
    """By how much each limit is broken; not positive where it is kept."""

    @property
    def within(self) -> bool:
        """Whether it keeps all limits."""
        return all(e <= 0 for e in self.excess)


def front(standings: Mapping[str, Standing]) -> list[str]:
    """The Pareto front of what keeps the limits: nothing is as good by all, and better by one.

    >>> front({"a": Standing((3, 1)), "b": Standing((1, 3)), "c": Standing((1, 2))})
    ['a', 'b']
    """
    within = {d: s.values for d, s in standings.items() if s.within}

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(
            its != mine and all(a >= b for a, b in zip(its, mine, strict=True))
            for its in within.values()
        )

    return [digest for digest, values in within.items() if not beaten(values)]


def best(standings: Mapping[str, Standing], outcomes: Mapping[str, Outcome]) -> str | None:
    """The digest to train in full: of what keeps the limits the best by the first objective.

    Then by the next ones, so it is on the Pareto front; finished ones before pruned ones.
    """
    for wanted in ("finished", "pruned"):
        eligible = [d for d, s in standings.items() if outcomes.get(d) == wanted and s.within]
        if eligible:
            return min(eligible, key=lambda d: (tuple(-v for v in standings[d].values), d))
    return None


@dataclass(frozen=True)
class Spent:
    """What a study has used so far."""

    trials: int = 0
    hours: float = 0.0
    device_hours: float = 0.0
    money: float = 0.0


def exhausted(budget: Budget | None, spent: Spent) -> str | None:
    """What of a budget is spent, in words; None while a trial may be started.

    >>> exhausted(Budget(trials=8, device_hours=2.0), Spent(trials=3, device_hours=2.1))
    '2.1 of 2 device-hours'
    """
    if budget is None:
        return None
    for name in ("trials", "hours", "device_hours", "money"):
        allowed, used = getattr(budget, name), getattr(spent, name)
        if allowed is not None and used >= allowed:
            word = name.replace("device_hours", "device-hours")
            return f"{used:.4g} of {allowed:.4g} {word}"
    return None


def price(device: str, rates: Mapping[str, float]) -> float:
    """Of an hour of a device: by the longest of the names that its own contains, else the dearest.

    >>> price("NVIDIA H100 80GB HBM3", {"cpu": 0.04, "H100": 3.1}), price("TPU", {"cpu": 0.04})
    (3.1, 0.04)
    """
    named = [name for name in rates if name.lower() in device.lower()]
    return rates[max(named, key=len)] if named else max(rates.values(), default=0.0)

"""Early stopping of search trials: rungs, brackets, and the decision at a rung."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from orchestrator.planning.plan import Trial
from search_spaces import Search

WILCOXON_P = 0.1
"""A trial is worse than the best one below this p-value: validation cases are few."""


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


Rungs = dict[tuple[str, int, int], dict[str, Rung]]
"""By cell, bracket and step; then by digest, since a trial may come to a rung twice."""


class Ladder:
    """The rungs of a study's search, as trials come to them in one round."""

    def __init__(self, search: Search | None, rungs: Rungs) -> None:
        self._search, self._rungs = search, rungs

    def judged(self, trial: Trial, step: int, mine: Rung) -> str | None:
        """Why a trial is stopped at a step, if it is; it counts for those that come after it."""
        found = self._at(trial, step)
        if found is None or self._search is None:
            return None
        others = [rung for digest, rung in found.items() if digest != trial.digest]
        found[trial.digest] = mine
        return pruned(self._search.pruner, mine, others)

    def climbed(self, trial: Trial, earlier: Iterable[dict[str, Any]]) -> None:
        """A trial that is resumed was at rungs before: it counts there for those after it."""
        for row in earlier:
            found = self._at(trial, int(row["step"]))
            if found is not None and math.isfinite(row["score"]):
                found[trial.digest] = Rung(row["score"], tuple(row["case_scores"] or ()))

    def _at(self, trial: Trial, step: int) -> dict[str, Rung] | None:
        """What trials had at a step that judges this one; None if none does there."""
        if self._search is None:
            return None
        first = bracket(self._search.pruner, trial.index, len(self._search.rungs))
        if step not in self._search.rungs[first:]:
            return None
        return self._rungs.setdefault((trial.cell.name, first, step), {})

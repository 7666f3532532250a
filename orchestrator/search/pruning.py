"""Early stopping of search trials: rungs, brackets, and the decision at a rung."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from orchestrator.planning.plan import Trial
from orchestrator.statistics.paired_tests import signed_rank
from search_spaces import Search

WILCOXON_P = 0.1
"""A trial is stopped below this p-value; it is above 0.05 because validation cases are few."""


@dataclass(frozen=True)
class RungScore:
    """The validation score of a trial at a rung, and that of each validation case."""

    score: float
    cases: tuple[float, ...] = ()


def bracket(pruner: str, index: int, rungs: int) -> int:
    """Return a search trial's bracket: the number of first rungs at which it is not stopped.

    Trials are compared within their bracket only. Hyperband (Li et al. 2018, arXiv 1603.06560)
    varies how early trials are stopped: trials take its brackets in turn, and those of the last
    bracket are never stopped.

    >>> [bracket("hyperband", index, rungs=2) for index in range(6)]
    [0, 1, 2, 0, 1, 2]
    """
    return index % (rungs + 1) if pruner == "hyperband" else 0


def stop_reason(pruner: str, score: RungScore, others: Sequence[RungScore]) -> str | None:
    """Return the reason to stop a trial at a rung that others reached before; None to continue."""
    if pruner in ("halving", "hyperband") and stop_early(score.score, [o.score for o in others]):
        return "in the lower half"
    if pruner == "wilcoxon" and others:
        best = max(others, key=lambda other: other.score)
        if clearly_worse(score.cases, best.cases):
            return f"worse than the best, {best.score:.4f}, over the same cases"
    return None


def stop_early(score: float, others: Sequence[float]) -> bool:
    """Whether a trial is in the lower half of those that reached this rung, and so is stopped.

    Asynchronous successive halving with a reduction factor of 2 (Li et al. 2020, arXiv
    1810.05934). With fewer than two other trials nothing is stopped.

    >>> stop_early(0.4, [0.5, 0.6]), stop_early(0.7, [0.5, 0.6]), stop_early(0.1, [0.9])
    (True, False, False)
    """
    if len(others) < 2:
        return False
    ranked = sorted([*others, score], reverse=True)
    return score < ranked[(len(ranked) - 1) // 2]


def clearly_worse(cases: Sequence[float], best_cases: Sequence[float]) -> bool:
    """Whether a trial is worse than the best one over the same validation cases, in pairs.

    One-sided signed-rank test at :data:`WILCOXON_P`, zeros split (Wilcoxon 1945). As in
    ``optuna.pruners.WilcoxonPruner``, a trial whose mean is not below that of the best continues.

    >>> clearly_worse([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.5, 0.6, 0.8])
    True
    >>> clearly_worse([0.1, 0.2, 0.3], [0.2, 0.3, 0.5])  # too few cases
    False
    """
    count = len(best_cases)
    if len(cases) != count or count < 2 or sum(cases) / count >= sum(best_cases) / count:
        return False
    differences = np.subtract(cases, best_cases)
    return signed_rank(differences, "less", split_zeros=True).p < WILCOXON_P


class RungKey(NamedTuple):
    """A rung of a cell's search, within one bracket."""

    cell: str
    bracket: int
    step: int


class RungScores:
    """The scores of a study's search trials at the rungs, as trials reach them in one round."""

    def __init__(
        self, search: Search | None, scores: Mapping[RungKey, dict[str, RungScore]]
    ) -> None:
        self._search = search
        self._scores = {key: dict(by_digest) for key, by_digest in scores.items()}
        """The scores at each rung, by digest: a trial that is resumed may reach a rung twice."""

    def decide_at_rung(self, trial: Trial, step: int, score: RungScore) -> str | None:
        """Return the reason to stop a trial at a step; None if it continues.

        The score counts for the trials that reach the rung later.
        """
        scores = self._at(trial, step)
        if scores is None or self._search is None:
            return None
        others = [s for digest, s in scores.items() if digest != trial.digest]
        scores[trial.digest] = score
        return stop_reason(self._search.pruner, score, others)

    def resumed(self, trial: Trial, earlier: Iterable[Mapping[str, Any]]) -> None:
        """Take the validations that a resumed trial had in an earlier attempt."""
        for row in earlier:
            scores = self._at(trial, int(row["step"]))
            if scores is not None and math.isfinite(row["score"]):
                scores[trial.digest] = RungScore(row["score"], tuple(row["case_scores"] or ()))

    def _at(self, trial: Trial, step: int) -> dict[str, RungScore] | None:
        """Return the scores at a step by digest; None if the step is no rung of this trial."""
        if self._search is None:
            return None
        first = bracket(self._search.pruner, trial.index, len(self._search.rungs))
        if step not in self._search.rungs[first:]:
            return None
        return self._scores.setdefault(RungKey(trial.cell.name, first, step), {})

"""Tests of ranks: Friedman's test with Nemenyi's critical difference; Spearman's correlation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.levels import ALPHA

FEWEST = 4
"""The fewest pairs for which a rank correlation is computed."""


class MeanRanks(NamedTuple):
    """Mean ranks of arms over blocks, and how far apart two of them must be."""

    ranks: Array
    """[arms]; 1 is best."""
    friedman_p: float
    """p-value of Friedman's test (1937) that no arm ranks differently from the others."""
    critical_difference: float
    """Mean ranks further apart than this differ significantly, all pairs considered."""


def mean_ranks(blocks: Array) -> MeanRanks:
    """Rank the arms within each block, [blocks, arms]; the lowest value has rank 1.

    Ties share their mean rank. The critical difference is Nemenyi's, q √(k(k+1) / 6N) for k arms
    and N blocks (Demšar 2006, JMLR 7:1-30, section 3.2.2).
    """
    from scipy import stats  # takes half a second to import

    count, arms = blocks.shape
    ranks = stats.rankdata(blocks.round(12), axis=1)
    all_tied = bool((ranks == ranks[:, :1]).all())
    friedman: Any = None if all_tied else stats.friedmanchisquare(*ranks.T)
    q = stats.studentized_range.ppf(1 - ALPHA, arms, np.inf) / np.sqrt(2)
    return MeanRanks(
        ranks.mean(0),
        1.0 if friedman is None else float(friedman.pvalue),
        float(q * np.sqrt(arms * (arms + 1) / (6 * count))),
    )


def spearman(one: Array, other: Array) -> float:
    """Spearman's rank correlation of the pairs that are known on both sides: [pairs] each.

    NaN for fewer than :data:`FEWEST` pairs, or if one side is constant.
    """
    from scipy import stats

    known = ~np.isnan(one) & ~np.isnan(other)
    sides = one[known], other[known]
    if known.sum() < FEWEST or any(len(np.unique(side)) == 1 for side in sides):
        return np.nan
    result: Any = stats.spearmanr(*sides)
    return float(result.statistic)

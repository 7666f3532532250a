"""Tests of paired differences: the signed-rank test and the permutation test."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.levels import CONFIDENCE

PERMUTATIONS = 2000, 50_000
"""The fewest and the most exchanges that are drawn; the identity is one of them."""


@dataclass(frozen=True)
class TestResult:
    """The outcome of a hypothesis test."""

    __test__: ClassVar[bool] = False  # pytest would collect it

    name: Literal["signed-rank", "permutation", "sign-flip"]
    p: float
    """NaN where the test could not be made."""
    least_p: float
    """The smallest p-value that the test can give with so few units."""


def least_p(units: int) -> float:
    """The smallest two-sided p-value of a signed-rank or permutation test of so many pairs.

    >>> least_p(5), least_p(6)
    (0.0625, 0.03125)
    """
    return 2.0 ** (1 - units)


def signed_rank(
    differences: Array,
    alternative: Literal["two-sided", "less"] = "two-sided",
    *,
    split_zeros: bool = False,
) -> TestResult:
    """Signed-rank test that the differences are symmetric about zero (Wilcoxon 1945): [units].

    ``less`` tests against the alternative that they are below zero. Zeros are dropped, or with
    ``split_zeros`` half of their ranks count for each sign.
    """
    from scipy import stats  # takes half a second to import

    # SciPy drops zeros as well, but then enumerates all signs, which is slow.
    kept = differences if split_zeros else differences[differences != 0]
    least = least_p(len(differences)) / (1 if alternative == "two-sided" else 2)
    if not len(kept):
        return TestResult("signed-rank", 1.0, least)
    zeros = "zsplit" if split_zeros else "wilcox"
    result: Any = stats.wilcoxon(kept, alternative=alternative, zero_method=zeros)
    return TestResult("signed-rank", float(result.pvalue), least)


def count_permutations(family: int) -> int:
    """The number of exchanges for a test whose p-value is adjusted over a family of tests.

    The larger the family, the more are needed for an adjusted p-value below 5 %.
    """
    fewest, most = PERMUTATIONS
    return min(max(fewest, 40 * family), most)


def exchange_test(difference: Callable[[Array], Array], units: int, draws: int) -> TestResult:
    """Two-sided permutation test that exchanges the two members of randomly drawn pairs.

    Under the null hypothesis the two arms are exchangeable within a unit. ``difference`` maps
    exchanges, [draws, units] with 1 where a pair is exchanged, to the statistic of each draw,
    [draws]. The observed statistic counts as one of the draws, so that p is never 0 (Phipson &
    Smyth 2010, SAGMB 9:39). p is NaN if the statistic is.
    """
    size = np.abs(difference(_exchanges(units, draws)))
    as_large: NDArray[np.bool_] = size >= size[0] - 1e-12
    p = np.nan if np.isnan(size).any() else float(as_large.mean())
    return TestResult("permutation", p, least_p(units))


@functools.lru_cache(maxsize=32)
def _exchanges(units: int, draws: int) -> Array:
    """Which units are exchanged in each draw, 0 or 1: [draws, units]; none in the first."""
    exchanges = np.random.default_rng(0).integers(0, 2, (draws, units)).astype(np.float64)
    exchanges[0] = 0
    return exchanges


def t_interval(differences: Array) -> tuple[float, float]:
    """The ends of Student's interval of the mean difference: [units]."""
    from scipy import stats

    mean, error = differences.mean(), stats.sem(differences)
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, mean, error)
    return float(low), float(high)

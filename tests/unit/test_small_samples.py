"""Intervals of a mean over few units and seeds: coverage by simulation, and exact properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.statistics.small_samples import (
    Rows,
    by_seed_and_unit,
    false_outperformance,
    mean_estimate,
    mean_interval,
)
from tests.intervals import mean_with_interval

Array = np.ndarray[Any, Any]


def rows(grid: Array) -> Rows:
    """The rows of [seeds, units, ...] values."""
    runs, units = (index.ravel() for index in np.indices(grid.shape[:2]))
    return Rows(grid.reshape(-1, *grid.shape[2:]), runs, units)


def ends(grid: Array) -> tuple[float, float]:
    return mean_estimate([rows(grid)]).ends


@pytest.mark.parametrize("units", [6, 12, 25, 50])
@pytest.mark.parametrize("seed_spread", [0.0, 0.01, 0.03])
def test_intervals_cover_the_mean_of_skewed_dice(units: int, seed_spread: float) -> None:
    draws, studies = np.random.default_rng(units), 2000
    dice = draws.beta(6, 1.2, (1, units, studies))
    dice = dice + seed_spread * draws.normal(size=(3, 1, studies))
    dice = dice + 0.03 * draws.normal(size=(3, units, studies))
    _, low, high = mean_interval(rows(dice))
    covered = ((low <= 6 / 7.2) & (high >= 6 / 7.2)).mean()
    noise = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert 0.93 - noise <= covered <= 0.97 + noise


@pytest.mark.parametrize("units", [6, 12, 25, 50])
def test_paired_differences_that_differ_between_seeds_are_covered(units: int) -> None:
    """Seeds are most of the variance here; without them the interval covers 30 to 80 %."""
    draws, studies = np.random.default_rng(units), 4000
    differences = 0.02 * draws.normal(size=(1, units, studies))
    differences = differences + 0.03 * draws.normal(size=(3, 1, studies))
    differences = differences + 0.03 * draws.normal(size=(3, units, studies))
    _, low, high = mean_interval(rows(differences))
    assert 0.93 <= ((low <= 0) & (high >= 0)).mean() <= 0.975


def test_intervals_of_many_normal_units_are_student_s() -> None:
    values = np.random.default_rng(0).normal(size=(1, 400))
    half = float(stats.t.ppf(0.975, 399)) * float(values.std(ddof=1)) / 20
    mean = float(values.mean())
    assert ends(values) == pytest.approx((mean - half, mean + half), abs=0.015)


def test_an_interval_moves_and_scales_with_its_values() -> None:
    values = np.random.default_rng(1).beta(6, 1.2, (3, 12))
    low, high = ends(values)
    assert ends(5 + 2 * values) == pytest.approx((5 + 2 * low, 5 + 2 * high))
    assert ends(-values) == pytest.approx((-high, -low))


def test_seeds_that_differ_widen_the_interval() -> None:
    values = np.random.default_rng(2).beta(6, 1.2, (1, 25)).repeat(3, 0)
    low, high = ends(values)
    wide = ends(values + np.array([[-0.1], [0.0], [0.1]]))
    assert wide[0] < low < high < wide[1]


def test_units_that_are_alike_leave_student_s_interval_over_seeds() -> None:
    seeds = np.array([0.7, 0.8, 0.75])
    half = float(stats.t.ppf(0.975, 2)) * float(seeds.std(ddof=1)) / np.sqrt(3)
    assert ends(seeds[:, None].repeat(6, 1)) == pytest.approx((0.75 - half, 0.75 + half))


def test_equal_values_have_an_interval_without_width_and_one_unit_has_none() -> None:
    assert ends(np.full((3, 6), 0.7)) == pytest.approx((0.7, 0.7))
    assert np.isnan(ends(np.full((3, 1), 0.7))).all()


def test_units_of_several_cases_with_some_missing_have_the_interval_of_a_loop() -> None:
    draws = np.random.default_rng(3)
    runs, units, values = draws.integers(0, 3, 40), draws.integers(0, 8, 40), draws.random(40)
    found = mean_estimate([Rows(values, runs, units)])
    listed = list(zip(runs.tolist(), units.tolist(), values.tolist(), strict=True))
    assert [found.value, *found.ends] == pytest.approx(mean_with_interval(listed))


def test_units_of_several_cases_have_the_variance_of_a_ratio() -> None:
    """The influence of a unit on Σ totals / Σ counts (Cochran 1977, equation 6.9)."""
    draws = np.random.default_rng(4)
    counts = draws.integers(1, 9, 30)
    units = np.repeat(np.arange(30), counts)
    values = draws.normal(size=30)[units] + draws.normal(size=len(units))
    grid = by_seed_and_unit([Rows(values, np.zeros_like(units), units)])[0]
    mean = values.mean()
    residuals = np.bincount(units, values) - mean * counts
    assert grid.mean() == pytest.approx(mean)
    error = np.sqrt((residuals**2).sum() / 29 / 30) / counts.mean()
    assert grid.std(ddof=1) / np.sqrt(30) == pytest.approx(error)


def test_the_probability_of_false_outperformance_is_half_of_a_t_test_s_p() -> None:
    """With a flat prior, the posterior of the mean is the t distribution of the test."""
    draws = np.random.default_rng(5)
    differences = 0.02 + 0.05 * draws.normal(size=(1, 12))
    test: Any = stats.ttest_1samp(differences[0], 0)
    assert false_outperformance(differences) == pytest.approx(float(test.pvalue) / 2)
    assert false_outperformance(-differences) == pytest.approx(float(test.pvalue) / 2)


def test_the_probability_of_false_outperformance_is_that_of_two_scores_and_their_correlation() -> (
    None
):
    """Christodoulou et al. 2025: t of n − 1 degrees of freedom, from both spreads and r."""
    draws = np.random.default_rng(6)
    one = draws.beta(6, 1.2, 25)
    other = one - 0.01 + 0.04 * draws.normal(size=25)
    r = float(np.corrcoef(one, other)[0, 1])
    spreads = float(one.std(ddof=1)), float(other.std(ddof=1))
    variance = spreads[0] ** 2 + spreads[1] ** 2 - 2 * spreads[0] * spreads[1] * r
    size = abs(float(one.mean() - other.mean()))
    expected = float(stats.t.cdf(-np.sqrt(25) * size / np.sqrt(variance), 24))
    assert false_outperformance((one - other)[None]) == pytest.approx(expected)


def test_seeds_that_disagree_make_false_outperformance_more_probable() -> None:
    differences = 0.03 + 0.02 * np.random.default_rng(7).normal(size=(1, 25)).repeat(3, 0)
    apart = differences + np.array([[-0.05], [0.0], [0.05]])
    assert false_outperformance(differences) < 0.001 < 0.05 < false_outperformance(apart) < 0.5


def test_arms_that_are_equal_outperform_each_other_by_chance_alone() -> None:
    assert false_outperformance(np.zeros((3, 6))) == 0.5
    assert false_outperformance(np.full((3, 6), 0.1)) == 0.0
    assert np.isnan(false_outperformance(np.zeros((3, 1))))

"""Intervals of a mean over few units and seeds: coverage by simulation, and exact properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orchestrator.statistics.small_samples import mean_interval


@pytest.mark.parametrize("units", [6, 12, 25, 50])
@pytest.mark.parametrize("seed_spread", [0.0, 0.01, 0.03])
def test_intervals_cover_the_mean_of_skewed_dice(units: int, seed_spread: float) -> None:
    draws, studies = np.random.default_rng(units), 2000
    dice = draws.beta(6, 1.2, (studies, 1, units))
    dice = dice + seed_spread * draws.normal(size=(studies, 3, 1))
    dice = dice + 0.03 * draws.normal(size=(studies, 3, units))
    ends = np.array([mean_interval(study) for study in dice])
    covered = ((ends[:, 0] <= 6 / 7.2) & (ends[:, 1] >= 6 / 7.2)).mean()
    noise = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert 0.93 - noise <= covered <= 0.97 + noise


def test_intervals_of_many_normal_units_are_student_s() -> None:
    values = np.random.default_rng(0).normal(size=(1, 400))
    ends = mean_interval(values)
    half = float(stats.t.ppf(0.975, 399)) * float(values.std(ddof=1)) / 20
    mean = float(values.mean())
    assert ends == pytest.approx((mean - half, mean + half), abs=0.015)


def test_an_interval_moves_and_scales_with_its_values() -> None:
    values = np.random.default_rng(1).beta(6, 1.2, (3, 12))
    low, high = mean_interval(values)
    assert mean_interval(5 + 2 * values) == pytest.approx((5 + 2 * low, 5 + 2 * high))


def test_seeds_that_differ_widen_the_interval() -> None:
    values = np.random.default_rng(2).beta(6, 1.2, (1, 25)).repeat(3, 0)
    low, high = mean_interval(values)
    wide = mean_interval(values + np.array([[-0.1], [0.0], [0.1]]))
    assert wide[0] < low < high < wide[1]


def test_units_that_are_alike_leave_student_s_interval_over_seeds() -> None:
    seeds = np.array([0.7, 0.8, 0.75])
    half = float(stats.t.ppf(0.975, 2)) * float(seeds.std(ddof=1)) / np.sqrt(3)
    assert mean_interval(seeds[:, None].repeat(6, 1)) == pytest.approx((0.75 - half, 0.75 + half))


def test_equal_values_have_an_interval_without_width_and_one_unit_has_none() -> None:
    assert mean_interval(np.full((3, 6), 0.7)) == pytest.approx((0.7, 0.7))
    assert np.isnan(mean_interval(np.full((3, 1), 0.7))).all()

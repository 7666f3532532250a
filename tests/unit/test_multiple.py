"""Holm's adjustment against what defines it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from orchestrator.statistics.multiple_testing import holm


def test_four_tests_adjusted_by_hand() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1; the last may not be below the third."""
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert found.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_it_is_the_closed_test_of_bonferroni() -> None:
    """Adjusted p: the largest Bonferroni p over all sets of hypotheses that contain this one.

    That is the closure principle (Marcus, Peritz & Gabriel 1976), tried over every set.
    """
    draws = np.random.default_rng(0)
    for tests in range(1, 7):
        p = draws.random(tests) ** 3
        for i, found in enumerate(holm(p)):
            sets = (
                chosen
                for size in range(1, tests + 1)
                for chosen in itertools.combinations(range(tests), size)
                if i in chosen
            )
            closed = max(min(1.0, len(chosen) * p[list(chosen)].min()) for chosen in sets)
            assert found == pytest.approx(closed)


def test_a_test_that_was_not_made_counts_for_nothing() -> None:
    found = holm(np.array([0.02, np.nan, 0.03]))
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.04])
    assert np.isnan(found[1])
    assert len(holm(np.empty(0))) == 0

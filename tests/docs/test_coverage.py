"""The table of simulated coverage in docs/statistics.md is what its bench computes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bench import coverage
from tests.docs.pages import read, sections, table_rows

STUDIES = 1000
"""Simulated studies per row; the page has 4,000."""
ROWS = table_rows(dict(sections(read("docs/statistics.md")))["Intervals"])


def test_the_table_has_every_row_of_the_bench_and_no_other() -> None:
    expected = [[k, str(s), str(n)] for (k, s), n in product(coverage.KINDS, coverage.UNITS)]
    assert [row[:3] for row in ROWS] == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:3]))
def test_a_row_of_the_table_is_what_the_bench_gives(row: list[str]) -> None:
    """Within four standard errors of both simulations."""
    kind, of_seeds, units, *shares = row
    values, mean = coverage.simulated(kind, float(of_seeds), int(units), STUDIES)
    for (name, method), share in zip(coverage.METHODS.items(), shares, strict=True):
        p = float(share) / 100
        error = np.sqrt(p * (1 - p) * (1 / STUDIES + 1 / coverage.STUDIES))
        assert coverage.covered(method(values), mean) == pytest.approx(p, abs=4 * error), name


def test_the_intervals_that_segprint_reports_hold_at_small_samples() -> None:
    """At least 93 % of them, as the page says; 97.7 % at most."""
    column = 3 + list(coverage.METHODS).index("bootstrap-t")
    assert all(93 <= float(row[column]) <= 97.7 for row in ROWS)

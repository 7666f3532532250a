"""The power of a study is what simulated studies find, by the rule that verdicts follow."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.statistics.power import Design, Spread, detectable, power, spread_of
from orchestrator.statistics.small_samples import Rows, mean_interval
from tests.conftest import SMALL, Segprint

Array = np.ndarray[Any, Any]


def simulated(spread: Spread, design: Design, difference: float, studies: int = 1500) -> float:
    """The share of studies whose interval and adjusted signed-rank test find the difference."""
    draws = np.random.default_rng(7)
    shape = (design.seeds, design.units, studies)
    values = difference + spread.units * draws.normal(size=(1, *shape[1:]))
    values = values + spread.seeds * draws.normal(size=(shape[0], 1, studies))
    values = values + spread.noise * draws.normal(size=shape)
    runs, units = (index.ravel() for index in np.indices(shape[:2]))
    _, low, _ = mean_interval(Rows(values.reshape(-1, studies), runs, units))
    tests: Any = stats.wilcoxon(values.mean(0), axis=0)
    adjusted = np.minimum(tests.pvalue * design.comparisons, 1)
    most = (values.mean(0) > 0).mean(0) > 0.5
    return float(((low > 0) & (adjusted <= 0.05) & most).mean())


@pytest.mark.parametrize(
    "design",
    [Design(6, 3, 1), Design(12, 3, 4), Design(25, 1, 10), Design(25, 3, 4), Design(60, 3, 4)],
    ids=str,
)
@pytest.mark.parametrize("seeds", [0.0, 0.01])
def test_predicted_power_is_that_of_simulated_studies(design: Design, seeds: float) -> None:
    spread = Spread(units=0.05, seeds=seeds, noise=0.02)
    for share in (0.6, 1.0, 1.4):
        difference = share * detectable(spread, design)
        assert power(spread, design, difference) == pytest.approx(
            simulated(spread, design, difference), abs=0.05
        )


def test_a_detectable_difference_is_found_with_four_fifths() -> None:
    spread, design = Spread(0.05, 0.01, 0.02), Design(20, 3, 3)
    assert power(spread, design, detectable(spread, design)) == pytest.approx(0.8, abs=0.001)


def test_without_seeds_the_power_is_that_of_a_t_test_on_many_units() -> None:
    """By the noncentral t distribution, for a test of efficiency 3/π."""
    difference, units = 0.02, 100
    lost = math.sqrt(3 / math.pi)
    shift = difference / 0.05 * math.sqrt(units) * lost
    expected = float(stats.nct.sf(stats.t.ppf(0.975, units - 1), units - 1, shift))
    assert power(Spread(0.05), Design(units, 1, 1), difference) == pytest.approx(expected, abs=0.03)


def test_more_units_and_more_seeds_detect_smaller_differences() -> None:
    spread = Spread(0.05, 0.02, 0.02)
    sizes = [detectable(spread, Design(units, seeds, 4)) for units, seeds in ((12, 3), (24, 3))]
    assert sizes[1] < sizes[0]
    assert detectable(spread, Design(12, 6, 4)) < sizes[0]
    assert detectable(spread, Design(12, 3, 1)) < sizes[0]


def test_too_few_units_detect_nothing() -> None:
    """With six units p is at least 2⁻⁵, which two comparisons make larger than 5 %."""
    assert detectable(Spread(0.01), Design(6, 3, 2)) == math.inf
    assert power(Spread(0.01), Design(6, 3, 2), 1.0) == 0.0
    assert detectable(Spread(0.01), Design(1, 3, 1)) == math.inf


def test_each_data_set_and_each_of_its_settings_is_a_family_of_comparisons(
    inline: Segprint, tmp_path: Path
) -> None:
    """As in the views; the units are those of the data that are tested."""
    arms = {"a": {}, "b": {"train.batch": 1}, "twin": {"train.batch": 2}}
    synthetic = [{"synthetic": {"size": 16, "cases": cases}} for cases in (8, 9)]
    outside = {"synthetic": {"size": 16, "cases": 12, "noise": 0.1}}
    for test, families in (({}, [(8, 2), (9, 2)]), ({"on": outside, "cases": "test"}, [(12, 4)])):
        config = {**SMALL, "task": "HERE", "mode": "feedforward", "test": test}
        text = repr(config).replace("'HERE'", f"Each(*{synthetic!r})")
        (tmp_path / "two.py").write_text(
            "from search_spaces import *\n"
            f"SPACE = Space('?', {text}, arms={arms!r}, baseline='twin', gpus=0)\n"
        )
        done = inline("plan", "./two.py", "--spread", "0.05", "--json")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["detectable"]
        if not test:
            assert [row["task"] for row in rows] == ["synthetic-8", "synthetic-9"]
        assert [(row["units"], row["comparisons"]) for row in rows] == families


def test_no_difference_is_larger_than_dice_itself(inline: Segprint, tmp_path: Path) -> None:
    config = {**SMALL, "task": {"synthetic": {"size": 16, "cases": 12}}, "mode": "feedforward"}
    (tmp_path / "wide.py").write_text(
        f"from search_spaces import *\nSPACE = Space('?', {config!r},"
        " arms={'a': {}, 'b': {'train.batch': 1}}, gpus=0)\n"
    )
    for spread in ("0.1", "1", "9"):
        (row,) = json.loads(inline("plan", "./wide.py", "--spread", spread, "--json").stdout)[
            "detectable"
        ]
        assert (row["difference"] is None) == (spread == "9")
        assert row["difference"] is None or row["difference"] <= 1


def test_the_spread_of_simulated_differences_is_found_again() -> None:
    draws = np.random.default_rng(0)
    values: Array = 0.05 * draws.normal(size=(1, 300)) + 0.02 * draws.normal(size=(200, 1))
    values = values + 0.03 * draws.normal(size=(200, 300))
    assert spread_of(values) == pytest.approx((0.05, 0.02, 0.03), rel=0.12)
    assert spread_of(values[:1])[1:] == (0.0, 0.0)

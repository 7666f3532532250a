"""Effects of factors: means of levels and paired differences, of crossed and incomplete studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from tests.cells import as_counts, commit
from tests.intervals import mean_with_interval

CASES = 8
OF_CASE = np.random.default_rng(0).uniform(0.5, 0.7, CASES)
SCHEDULE = {"linear": 0.0, "cosine": 0.05, "laplace": -0.1}
LOW = {0.0: 0.0, 0.2: 0.03}


def dice(schedule: str, low: float, seed: int) -> np.ndarray[Any, Any]:
    draws = np.random.default_rng([list(SCHEDULE).index(schedule), int(10 * low), seed])
    noise = 0.01 * draws.normal(size=CASES)
    return (OF_CASE + SCHEDULE[schedule] + LOW[low] + noise + 0.01 * seed).round(5)


def config(schedule: str, low: float) -> dict[str, Any]:
    return {"mode": {"diffusion": {"schedule": {schedule: {}}, "t_low": low, "t_high": 1 - low}}}


def train(ledger: Ledger, *cells: tuple[str, float], seeds: int = 2) -> None:
    for i, (schedule, low) in enumerate(cells):
        for seed in range(seeds):
            commit(
                ledger,
                f"{i}{seed}".ljust(16, "0"),
                f"{schedule}_{low}",
                as_counts(dice(schedule, low, seed)),
                seed=seed,
                config=config(schedule, low),
            )


def effects(ledger: Ledger) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [r for r in catalog(ledger)["effects"].to_pylist() if r["metric"] == "dice"]
    return {(r["factor"], r["level"]): r for r in rows}


def listed(values: list[np.ndarray[Any, Any]]) -> list[tuple[int, int, float]]:
    return [(seed, i, v) for seed, row in enumerate(values) for i, v in enumerate(row.tolist())]


def test_a_level_is_compared_over_the_levels_of_the_other_factors(ledger: Ledger) -> None:
    train(ledger, *((schedule, low) for schedule in SCHEDULE for low in LOW))
    ledger.studies.describe(
        "study", {"question": "", "arms": [], "revision": "r1", "baseline": "linear_0.0"}
    )
    found = effects(ledger)
    ends = "mode.t_low, mode.t_high"
    assert set(found) == {
        *(("mode.schedule", schedule) for schedule in SCHEDULE),
        *((ends, level) for level in ("0.0, 1.0", "0.2, 0.8")),
    }
    cosine = found["mode.schedule", "cosine"]
    assert (cosine["baseline"], cosine["cells"], cosine["pairs"]) == ("linear", 2, 2)
    levels = [
        [dice(name, low, seed) for low in LOW] for name in ("cosine", "linear") for seed in (0, 1)
    ]
    means = [np.mean(level, axis=0) for level in levels]
    differences = [means[0] - means[2], means[1] - means[3]]
    for name, values in (("value", means[:2]), ("difference", differences)):
        expected = mean_with_interval(listed(values))
        shown = [cosine[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert shown == pytest.approx(expected, abs=2e-4), name
        assert cosine[f"{name}_method"] == "bootstrap-t"
    assert cosine["false_outperformance"] < 0.05
    base = found["mode.schedule", "linear"]
    assert base["difference"] is base["difference_low"] is base["false_outperformance"] is None
    assert base["pairs"] == 0
    assert base["value"] == pytest.approx(np.mean(means[2:]), abs=1e-4)
    assert found[ends, "0.2, 0.8"]["difference"] == pytest.approx(0.03, abs=0.01)
    assert (cosine["seeds"], cosine["images"], cosine["units"]) == (2, CASES, CASES)


def test_only_cells_that_are_equal_otherwise_are_compared(ledger: Ledger) -> None:
    """Laplace was trained within another range only: no pair isolates it."""
    train(ledger, ("linear", 0.0), ("cosine", 0.0), ("laplace", 0.2), ("linear", 0.2))
    found = effects(ledger)
    laplace, cosine = (found["mode.schedule", name] for name in ("laplace", "cosine"))
    assert laplace["baseline"] == cosine["level"] == "cosine"  # the first cell by name
    assert (laplace["pairs"], laplace["difference"]) == (0, None)
    linear = found["mode.schedule", "linear"]
    assert (linear["cells"], linear["pairs"]) == (2, 1)
    expected = np.mean([dice("linear", 0.0, s) - dice("cosine", 0.0, s) for s in (0, 1)])
    assert linear["difference"] == pytest.approx(expected, abs=1e-4)


def test_fields_of_one_of_two_parts_do_not_hinder_a_comparison(ledger: Ledger) -> None:
    """Only the cosine schedule has a shift; its level is compared all the same."""
    for i, (schedule, fields) in enumerate(
        [("cosine", {"shift": 0.0}), ("cosine", {"shift": -2.0}), ("linear", {})]
    ):
        mode = {"diffusion": {"schedule": {schedule: fields}}}
        values = as_counts(OF_CASE + 0.01 * i)
        commit(ledger, f"{i}" * 16, f"arm{i}", values, config={"mode": mode})
    found = effects(ledger)
    assert found["mode.schedule", "linear"]["pairs"] == 2
    assert found["mode.schedule", "linear"]["difference"] == pytest.approx(0.015, abs=1e-4)
    assert found["mode.schedule.shift", "-2.0"]["difference"] == pytest.approx(0.01, abs=1e-4)


def test_a_study_of_one_arm_has_no_factor(ledger: Ledger) -> None:
    train(ledger, ("linear", 0.0))
    assert effects(ledger) == {}

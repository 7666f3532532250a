"""Effects of factors: means of levels and paired differences, of crossed and incomplete studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

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


def test_a_difference_of_levels_is_tested_over_units_and_adjusted(ledger: Ledger) -> None:
    """The test is SciPy's, of the mean over the pairs; two schedules and one range are a family."""
    train(ledger, *((schedule, low) for schedule in SCHEDULE for low in LOW))
    rows = effects(ledger)
    levels = sorted({name for name, _ in rows})
    assert levels == ["mode.schedule", "mode.t_low, mode.t_high"]
    tested = {key: row for key, row in rows.items() if row["pairs"]}
    p: dict[tuple[str, str], float] = {}
    for (factor, level), row in tested.items():
        if factor == "mode.schedule":
            ones = [(level, low) for low in LOW]
            others = [(row["baseline"], low) for low in LOW]
        else:
            ones, others = ([(s, float(x[:3])) for s in SCHEDULE] for x in (level, row["baseline"]))
        means = [
            np.mean([dice(*cell, seed) for cell in side for seed in (0, 1)], axis=0)
            for side in (ones, others)
        ]
        per_case = means[0] - means[1]
        p[factor, level] = stats.wilcoxon(per_case).pvalue
        assert row["wilcoxon_p"] == pytest.approx(p[factor, level]), level
        assert row["better"] == (per_case > 0).mean()
    running = 0.0
    for i, key in enumerate(sorted(p, key=lambda k: p[k])):
        running = max(running, min(1.0, (len(p) - i) * p[key]))
        assert (rows[key]["p_holm"], rows[key]["family"]) == (pytest.approx(running), 3)
    base = next(row for row in rows.values() if not row["pairs"])
    assert base["wilcoxon_p"] is base["p_holm"] is base["better"] is None


def test_levels_that_calibrate_alike_differ_by_chance(ledger: Ledger) -> None:
    """Exchanging levels within units: equal pixels have p = 1, all worse has the least p."""
    for i, schedule in enumerate(SCHEDULE):
        pixels = {f"c{k}": [(0.7, 100, 70 - 30 * (schedule == "laplace"))] for k in range(CASES)}
        commit(
            ledger,
            f"{i}" * 16,
            schedule,
            as_counts(OF_CASE),
            pixels,
            config=config(schedule, 0.0),
        )
    rows = [r for r in catalog(ledger)["effects"].to_pylist() if r["metric"] == "ece"]
    found = {r["level"]: r for r in rows}
    assert found["linear"]["permutation_p"] == 1
    # 2 of 2^8 assignments are as extreme; the draws estimate that
    assert 0 < found["laplace"]["permutation_p"] < 0.02
    assert found["laplace"]["p_holm"] == pytest.approx(2 * found["laplace"]["permutation_p"])
    assert found["laplace"]["wilcoxon_p"] is None


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

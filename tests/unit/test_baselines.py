"""A named baseline: the comparisons that a study asks for are a family with a direction."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import make_plan
from orchestrator.planning.validation import check
from search_spaces import Each, Space
from tests.cells import as_counts, commit
from tests.conftest import Segprint

ARMS = ("cosine", "laplace", "linear", "window")
SHIFTS = {"cosine": -0.04, "laplace": -0.09, "linear": 0.0, "window": 0.002}
CASES = 12
CONFIG = {"task": "synthetic", "model": "ensemdiff", "mode": {"diffusion": {}}}
SCHEDULES = {name: {"mode.diffusion.schedule": name} for name in ("linear", "cosine")}


def dice(arm: str) -> np.ndarray[Any, Any]:
    draws = np.random.default_rng(ARMS.index(arm))
    case = np.random.default_rng(99).uniform(0.6, 0.9, CASES)
    return case + SHIFTS[arm] + 0.01 * draws.normal(size=CASES)


@pytest.fixture
def four(ledger: Ledger) -> Ledger:
    """Four arms of two seeds; the study names the third as its baseline."""
    for i, arm in enumerate(ARMS):
        for seed in range(2):
            values = as_counts(dice(arm) + 0.001 * seed)
            commit(ledger, f"{i}{seed}".ljust(16, "0"), arm, values, seed=seed)
    ledger.studies.describe(
        "study", {"question": "", "arms": list(ARMS), "revision": "r1", "baseline": "linear"}
    )
    return ledger


def holm_by_hand(p: list[float]) -> list[float]:
    order = np.argsort(p)
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p[i] * (len(p) - rank)))
        adjusted[i] = largest
    return adjusted


def test_the_comparisons_with_the_baseline_are_a_family_of_their_own(four: Ledger) -> None:
    rows = [r for r in catalog(four)["ablation"].to_pylist() if r["metric"] == "dice"]
    asked = [r for r in rows if r["baseline"]]
    assert rows[:3] == asked
    assert {r["against"] for r in asked} == {"task_linear"}
    assert [r["cell"] for r in asked] == ["task_cosine", "task_laplace", "task_window"]
    assert [r["family"] for r in rows] == [3] * 3 + [6] * 3
    raw = [float(stats.wilcoxon(dice(a) - dice("linear")).pvalue) for a in ARMS if a != "linear"]
    assert [r["wilcoxon_p"] for r in asked] == pytest.approx(raw)
    assert [r["p_holm"] for r in asked] == pytest.approx(holm_by_hand(raw))
    cosine = asked[0]
    expected = float((dice("cosine") - dice("linear")).mean())
    assert cosine["difference"] == pytest.approx(expected, abs=1e-4)  # the arm minus the baseline


def test_without_a_baseline_every_pair_is_one_family(four: Ledger) -> None:
    four.studies.describe("study", {"question": "", "arms": list(ARMS), "revision": "r1"})
    rows = catalog(four)["ablation"].to_pylist()
    assert {(r["baseline"], r["family"]) for r in rows if r["metric"] == "dice"} == {(False, 6)}


def test_compare_against_an_arm_agrees_with_the_view(four: Ledger, inline: Segprint) -> None:
    view = [r for r in catalog(four)["ablation"].to_pylist() if r["baseline"]]
    named = inline("--store", four.store.url, "compare", "study", "--against", "linear", "--json")
    assert named.returncode == 0, named.stderr
    found = json.loads(named.stdout)
    by_default = inline("--store", four.store.url, "compare", "study", "--json")
    assert json.loads(by_default.stdout) == found
    shown = {r["one"]: r for r in found if r["metric"] == "dice"}
    for row in (r for r in view if r["metric"] == "dice"):
        mine = shown[f"study/{row['cell']}"]
        for name in ("difference", "difference_low", "p_holm", "family", "false_outperformance"):
            assert mine[name] == row[name]
    assert [r["verdict"] for r in found if r["metric"] == "dice"] == [
        "worse",
        "worse",
        "not significantly different",
    ]


def test_compare_needs_something_to_compare_with(four: Ledger, inline: Segprint) -> None:
    url = four.store.url
    unknown = inline("--store", url, "compare", "study", "--against", "lineal")
    assert unknown.returncode == 2
    assert "did you mean 'linear'?" in unknown.stderr
    both = inline("--store", url, "compare", "study", "study", "--against", "linear")
    assert both.returncode == 2
    assert "not both" in both.stderr
    itself = inline("--store", url, "compare", "study/linear")
    assert itself.returncode == 1
    assert "study/linear has no finished trial but those of linear" in itself.stderr
    about = {"question": "", "arms": list(ARMS), "revision": "r1"}
    four.studies.describe("study", {**about, "baseline": "late"})
    late = inline("--store", url, "compare", "study")
    assert late.returncode == 2
    assert "compare study: its baseline late has no finished trial" in late.stderr
    four.studies.describe("study", about)
    none = inline("--store", url, "compare", "study")
    assert none.returncode == 2
    assert "names no baseline" in none.stderr


def test_in_a_grid_a_cell_meets_the_baseline_of_its_own_grid_values(ledger: Ledger) -> None:
    for i, (members, schedule) in enumerate((m, s) for m in (1, 2) for s in ("cosine", "linear")):
        mode = {"diffusion": {"schedule": {schedule: {}}, "members": members}}
        commit(
            ledger,
            f"{i}" * 16,
            "default",
            as_counts(dice(schedule)),
            config={"mode": mode},
            cell=f"task_{members}_{schedule}_default",
        )
    ledger.studies.describe(
        "study", {"question": "", "arms": ["default"], "revision": "r1", "baseline": "linear"}
    )
    asked = [r for r in catalog(ledger)["ablation"].to_pylist() if r["baseline"]]
    assert {(r["cell"], r["against"]) for r in asked} == {
        ("task_1_cosine_default", "task_1_linear_default"),
        ("task_2_cosine_default", "task_2_linear_default"),
    }


def test_a_baseline_leaves_the_revision_as_it_is(ledger: Ledger) -> None:
    plans = [
        make_plan("s", Space("?", CONFIG, SCHEDULES, baseline=name), ledger)
        for name in (None, "linear")
    ]
    assert plans[0].revision == plans[1].revision


def test_a_baseline_that_no_cell_has_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown Space: baseline 'lineal'; did you mean 'linear'"):
        check(Space("?", CONFIG, SCHEDULES, baseline="lineal"))
    grid = {**CONFIG, "mode": {"diffusion": {"schedule": Each("linear", "cosine")}}}
    assert len(check(Space("?", grid, baseline="linear"))) == 2


def external(ledger: Ledger, cells: dict[str, tuple[str, ...]]) -> None:
    """Cells trained on a data set with these schedules, all tested on clinic, 0.01 apart."""
    for i, (data, schedule) in enumerate((d, s) for d, some in cells.items() for s in some):
        mode = {"diffusion": {"schedule": {schedule: {}}}}
        about: dict[str, Any] = {"cell": f"{data}_{schedule}", "task": "clinic"}
        about["config"] = {"task": {data: {}}, "test": {"on": {"clinic": {}}}, "mode": mode}
        values = as_counts(0.7 + 0.01 * i + np.linspace(0, 0.1, CASES))
        commit(ledger, f"{i:x}" * 16, schedule, values, **about)
    description = {"question": "", "arms": ["linear", "cosine"], "revision": "r1"}
    ledger.studies.describe("study", {**description, "baseline": "linear"})  # type: ignore[typeddict-item]


def test_an_external_test_compares_arms_that_were_trained_on_the_same_data(ledger: Ledger) -> None:
    external(ledger, {"a": ("linear", "cosine"), "b": ("linear", "cosine")})
    asked = {
        (r["cell"], r["against"])
        for r in catalog(ledger)["ablation"].to_pylist()
        if r["baseline"] and r["metric"] == "dice"
    }
    assert asked == {("a_cosine", "a_linear"), ("b_cosine", "b_linear")}


def test_the_training_data_of_an_external_test_are_a_factor(ledger: Ledger) -> None:
    """Of b there is no linear, so that cosine and linear can be compared on a only."""
    external(ledger, {"a": ("linear", "cosine"), "b": ("cosine",)})
    rows = [r for r in catalog(ledger)["effects"].to_pylist() if r["metric"] == "dice"]
    (cosine,) = [r for r in rows if r["level"] == "cosine"]
    assert cosine["difference"] == pytest.approx(0.01, abs=1e-3)
    assert {r["factor"] for r in rows} == {"mode.schedule", "task"}

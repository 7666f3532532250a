"""Cases of one patient are no independent cases: what is resampled, exchanged and ranked whole."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics import bootstrap
from orchestrator.statistics.small_samples import Rows, mean_interval
from tests.cells import as_counts, commit
from tests.fingerprints import commit as commit_probes
from tests.fingerprints import of_density
from tests.intervals import mean_with_interval

Array = np.ndarray[Any, Any]
SIZES = (1, 2, 3, 1, 2, 4, 2)
"""Cases of each of seven patients."""
GROUPS = [f"patient{g}" for g, size in enumerate(SIZES) for _ in range(size)]


def values(seed: int, shift: float = 0.0) -> Array:
    """Dice of each case: a patient's cases are alike."""
    draws = np.random.default_rng(seed)
    own = np.repeat(draws.normal(0.6 + shift, 0.1, len(SIZES)), SIZES)
    return np.clip(own + draws.normal(0, 0.02, len(own)), 0.05, 0.95).round(5)


def by_patient(of_cases: Array) -> Array:
    return np.array([of_cases[np.array(GROUPS) == g].mean() for g in dict.fromkeys(GROUPS)])


def test_intervals_are_over_whole_patients(ledger: Ledger) -> None:
    """The ends are those of a plain loop over patients, each with all of its cases."""
    dice = values(0)
    commit(ledger, "a" * 16, "net", as_counts(dice), groups=GROUPS)
    (row,) = catalog(ledger)["leaderboard"].to_pylist()
    assert (row["images"], row["groups"]) == (15, 7)
    expected = mean_with_interval([(0, g, v) for g, v in zip(GROUPS, dice.tolist(), strict=True)])
    found = [row[f"dice{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx(expected, abs=1e-4)
    assert row["dice_method"] == "bootstrap-t"


def test_five_patients_are_too_few_to_resample_and_cases_are_instead(ledger: Ledger) -> None:
    dice = values(0)[:9]
    commit(ledger, "a" * 16, "net", as_counts(dice), groups=GROUPS[:9], study="five")
    commit(ledger, "b" * 16, "net", as_counts(dice), study="apart")
    by_study = {r["study"]: r for r in catalog(ledger)["leaderboard"].to_pylist()}
    assert (by_study["five"]["groups"], by_study["apart"]["groups"]) == (5, 1)
    ends = [[row[f"dice_{end}"] for end in ("low", "high")] for row in by_study.values()]
    assert ends[0] == ends[1]


def test_pairs_are_tested_patient_by_patient(ledger: Ledger) -> None:
    one, other = values(0, shift=0.03), values(1)
    commit(ledger, "a" * 16, "one", as_counts(one), groups=GROUPS)
    commit(ledger, "b" * 16, "other", as_counts(other), groups=GROUPS)
    (row,) = [r for r in catalog(ledger)["ablation"].to_pylist() if r["metric"] == "dice"]
    sign = 1 if row["cell"] == "task_one" else -1
    apart = sign * by_patient(one - other)
    assert row["difference"] == pytest.approx(sign * (one - other).mean(), abs=2e-5)
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(apart).pvalue)
    assert row["better"] == pytest.approx(np.mean(apart > 0))
    assert (row["images"], row["groups"]) == (15, 7)


def test_sides_of_whole_patients_are_exchanged(ledger: Ledger) -> None:
    """ECE of one bin is |Σp − Σy| / pixels: all 2⁷ exchanges, one by one."""
    counts = as_counts(values(0))
    draws = np.random.default_rng(3)
    true = np.repeat(draws.integers(60, 95, len(SIZES)), SIZES) + draws.integers(0, 5, len(GROUPS))
    sides = {
        arm: {f"c{i}": [(p, 100, int(y))] for i, y in enumerate(true)}
        for arm, p in (("sure", 0.9), ("humble", 0.7))
    }
    for digest, (arm, pixels) in zip("ab", sides.items(), strict=True):
        commit(ledger, digest * 16, arm, counts, pixels, groups=GROUPS)
    (row,) = [r for r in catalog(ledger)["ablation"].to_pylist() if r["metric"] == "ece"]
    patient = np.repeat(np.arange(7), SIZES)

    def ece(p: Array) -> float:
        return sum(abs(100 * level * (p == level).sum() - true[p == level].sum())
                   for level in (0.9, 0.7)) / (100 * len(true))  # fmt: skip

    def apart(moved: tuple[int, ...]) -> float:
        at = np.array(moved)[patient]
        return abs(ece(np.where(at, 0.7, 0.9)) - ece(np.where(at, 0.9, 0.7)))

    found = np.array([apart(moved) for moved in itertools.product((0, 1), repeat=7)])
    exact = np.mean(found >= found[0] - 1e-9)
    assert 0.01 < exact < 0.9, "or the test would tell nothing"
    assert row["permutation_p"] == pytest.approx(exact, abs=4 * np.sqrt(exact / 2000))


def test_arms_are_ranked_on_patients(ledger: Ledger) -> None:
    dice = [values(seed) for seed in range(3)]
    for i, of_cases in enumerate(dice):
        commit(ledger, f"{i}" * 16, f"arm{i}", as_counts(of_cases), groups=GROUPS)
    rows = {r["arm"]: r for r in catalog(ledger)["ranks"].to_pylist() if r["metric"] == "dice"}
    ranks = stats.rankdata(-np.column_stack([by_patient(v) for v in dice]), axis=1)
    assert [rows[f"arm{i}"]["mean_rank"] for i in range(3)] == pytest.approx(ranks.mean(0))
    assert rows["arm0"]["blocks"] == 7
    expected = stats.friedmanchisquare(*ranks.T).pvalue
    assert rows["arm0"]["friedman_p"] == pytest.approx(expected)


def test_fingerprints_resample_patients_and_tasks_exchange_them(ledger: Ledger) -> None:
    """36 tiles of twelve patients and of one: alike in the mean, not in what is known."""
    draws = np.random.default_rng(0)
    edges = np.linspace(-6.0, 6.0, 13)
    own = np.repeat(draws.uniform(0.05, 0.2, (12, 12)), 3, axis=0)
    groups = {"many": [f"p{i // 3:02}" for i in range(36)], "one": ["p"] * 36}
    for i, (task, of) in enumerate(groups.items()):
        rows = of_density(edges, own)
        for row in rows:
            row["group"] = of[int(row["case"][1:4])]
        commit_probes(ledger, f"{i}" * 16, rows, task=task)
    found = catalog(ledger)["information"].to_pylist()
    wide, narrow = ({r["task"]: r for r in found}[task] for task in groups)
    assert [(r["images"], r["groups"]) for r in (wide, narrow)] == [(36, 12), (36, 1)]
    key = "information_orthogonal"
    assert wide[key] == pytest.approx(narrow[key])
    width = [r[f"{key}_high"] - r[f"{key}_low"] for r in (wide, narrow)]
    quantiles = [float(stats.t.ppf(0.975, units - 1)) for units in (12, 36)]
    expected = np.sqrt(3) * quantiles[0] / quantiles[1]
    assert width[0] / width[1] == pytest.approx(expected, rel=0.12)
    row = next(r for r in catalog(ledger)["distances"].to_pylist() if r["normalisation"] == "unit")
    assert {row["groups"], row["groups_against"]} == {12, 1}
    assert row["wasserstein"] == pytest.approx(0, abs=1e-9)


def test_intervals_over_patients_cover_where_those_over_cases_do_not() -> None:
    """Twenty patients of ten tiles that have half of their variance in common; known mean 0."""
    draws, studies = np.random.default_rng(0), 1000
    patient = np.repeat(np.arange(20), 10)
    found = draws.normal(size=(studies, 20))[:, patient] + draws.normal(size=(studies, 200))
    covered: list[float] = []
    for groups in (patient, np.zeros(200, np.int64)):
        units = bootstrap.units(np.arange(200), groups)
        _, low, high = mean_interval(Rows(found.T, np.zeros(200, np.int64), units))
        covered.append(float(((low <= 0) & (high >= 0)).mean()))
    assert covered[0] == pytest.approx(0.95, abs=0.02)
    assert covered[1] < 0.65

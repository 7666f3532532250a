"""The source study's claims, on ledgers that make them true, false or inconclusive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import build_sections
from orchestrator.report.blocks import Note, Table
from tests.cells import as_counts, binned, commit
from tests.claims import (
    CASES,
    DICE,
    ENSEMBLE,
    NNUNET,
    SEGFORMER,
    SPREAD,
    TWIN,
    Array,
    arm,
    claims,
    only,
)
from tests.fingerprints import bump, probes

MIXED = np.array([0.05, -0.05, 0.04, -0.04, 0.03, -0.03, 0.02, -0.02])


@pytest.mark.parametrize(
    ("apart", "verdict", "p"),
    [(-0.02, "holds", 2 / 2**CASES), (0.02, "does not hold", 2 / 2**CASES), (MIXED, None, None)],
)
def test_calibration_is_judged_by_pairs_of_cases(
    ledger: Ledger, apart: float | Array, verdict: str | None, p: float | None
) -> None:
    """A permutation test of eight pairs that all point one way has p = 2/2⁸."""
    arm(ledger, "one", "diffusion", gap=0.2 + apart + SPREAD)
    arm(ledger, "other", gap=0.2 + SPREAD)
    row = only(ledger, TWIN)
    assert row["verdict"] == (verdict or "inconclusive")
    assert row["difference"] == pytest.approx(float(np.mean(apart)), abs=1e-9)
    assert (row["cell"], row["against"]) == ("task_one", "task_other")
    assert (row["images"], row["seeds"], row["claim"]) == (CASES, 1, 1)
    if p is None:
        assert "it may be chance" in row["why"]
    else:
        assert row["p"] == pytest.approx(p, rel=0.6)  # of 2,000 draws
        said = "interval and test agree; of one training run each; of 8 cases of 1 group"
        assert row["why"] == f"{said}: it holds for no other group"
    found = catalog(ledger).sql(row["source"]).to_pylist()
    assert [r["difference"] for r in found] == [row["difference"]]


@pytest.mark.parametrize(("groups", "units", "verdict"), [(4, 12, "holds"), (6, 6, "holds")])
def test_patients_are_what_is_tested_over_where_there_are_enough(
    ledger: Ledger, groups: int, units: int, verdict: str
) -> None:
    counts = as_counts(np.linspace(0.5, 0.8, 12))
    for name, mode, true in (("net", "diffusion", 600), ("twin", "feedforward", 500)):
        cases = [
            {"case": f"c{i}", "group": f"g{i % groups}", "tp": tp, "fp": fp, "fn": fn, "tn": 0}
            for i, (tp, fp, fn) in enumerate(counts)
        ]
        seen = [{"case": c["case"], "group": c["group"], **binned(0.7, 1000, true)} for c in cases]
        about = {"config": {"model": {"ensemdiff": {}}, "mode": {mode: {}}}, "mode": mode}
        more = {"cases": cases, "calibration": seen}
        commit(ledger, name.ljust(16, "0"), name, [], more=more, **about)
    row = only(ledger, TWIN)
    assert (row["images"], row["groups"], row["units"]) == (12, groups, units)
    assert row["verdict"] == verdict
    assert ("it holds for no other group" in row["why"]) == (groups == 4)


def test_intervals_that_overlap_decide_nothing(ledger: Ledger) -> None:
    """Arms that differ by 0.01 on each case, and cases by 0.3: it is the pairs that tell."""
    arm(ledger, "net", "diffusion", dice=DICE)
    arm(ledger, "base", model="segformer", dice=DICE + 0.01)
    tables = catalog(ledger)
    low, high = tables["leaderboard"].sort_by("dice").to_pylist()
    assert low["dice_high"] > high["dice_low"]
    row = only(ledger, SEGFORMER, "dice")
    assert (row["verdict"], row["p"]) == ("holds", pytest.approx(2 / 2**CASES))
    assert row["difference_high"] < 0
    assert [r["difference"] for r in tables.sql(row["source"]).to_pylist()] == [
        pytest.approx(-row["difference"]) if row["cell"] > row["against"] else row["difference"]
    ]


def test_a_diffusion_model_that_is_more_accurate_refutes_it(ledger: Ledger) -> None:
    arm(ledger, "net", "diffusion", dice=DICE + 0.02)
    arm(ledger, "base", model="nnunet")
    assert only(ledger, NNUNET, "dice")["verdict"] == "does not hold"


def test_what_a_claim_needs_and_is_not_there_is_said(ledger: Ledger) -> None:
    arm(ledger, "net", "diffusion")
    rows = catalog(ledger)["claims"].to_pylist()
    assert {r["verdict"] for r in rows} == {"inconclusive"}
    why = {(r["claim"], r["statement"]): r["why"] for r in rows}
    assert why[1, TWIN] == "there is no feed-forward twin in this study"
    assert why[1, "less accurate than nnU-Net"] == "there is no nnU-Net in this study"
    assert why[1, "less accurate than SegFormer"] == "there is no SegFormer in this study"
    assert {r["claim"] for r in rows} == {1, 2, 3, 4}
    assert "not probed" in only(ledger, "hardly helps")["why"]
    assert "no two tasks" in only(ledger, "of its own")["why"]


def test_a_study_without_diffusion_says_so_of_every_claim(ledger: Ledger) -> None:
    arm(ledger, "diffusion")  # by its name only
    rows = catalog(ledger)["claims"].to_pylist()
    assert {r["why"] for r in rows} == {"there is no diffusion model in this study"}
    assert {r["claim"] for r in rows} == {1, 2, 3, 4}


def test_arms_are_known_by_their_configs(ledger: Ledger) -> None:
    """Not one of these is the twin, whatever it is called; the last is."""
    arm(ledger, "net", "diffusion", gap=0.1)
    arm(ledger, "feedforward", model="unet")
    arm(ledger, "twin", train={"control": "shuffled_image"})
    arm(ledger, "twin_too", "image_only")
    arm(ledger, "views", members=8)
    assert "no feed-forward twin" in only(ledger, TWIN)["why"]
    arm(ledger, "segformer")
    assert only(ledger, TWIN)["against"] == "task_segformer"
    assert "no SegFormer" in only(ledger, SEGFORMER, "dice")["why"]


def test_of_several_the_best_in_validation_is_taken(ledger: Ledger) -> None:
    arm(ledger, "net", "diffusion", gap=0.1)
    for name, score, gap in (("a", 0.5, 0.0), ("b", 0.7, 0.2), ("c", 0.6, 0.9)):
        arm(ledger, name, gap=min(gap, 0.3), scores=(score, score))
    assert only(ledger, TWIN)["against"] == "task_b"


@pytest.mark.parametrize(
    ("cases", "scores", "floor", "why"),
    [
        (5, (0.8, 0.8, 0.8), 0.1, "5 test units are too few: p cannot be below 0.062"),
        (8, (0.3, 0.5, 0.8), 0.1, "task_net was still learning: validation Dice rose by 0.50"),
        (8, (0.8, 0.8, 0.8), 0.9, "task_net is below the grey level alone"),
    ],
)
def test_too_few_cases_or_too_little_training_leave_a_claim_inconclusive(
    ledger: Ledger, cases: int, scores: tuple[float, ...], floor: float, why: str
) -> None:
    arm(ledger, "net", "diffusion", gap=0.1, cases=cases, scores=scores)
    arm(ledger, "twin", cases=cases)
    arm(ledger, "grey", model="intensity", train={"steps": 0}, scores=(floor,), cases=cases)
    row = only(ledger, TWIN)
    assert row["verdict"] == "inconclusive"
    assert row["why"].startswith(why)
    # What is seen of these networks is said all the same.
    assert row["difference"] == pytest.approx(-0.1)
    assert row["as_trained"] == ("holds" if cases == CASES else "inconclusive")


def test_in_an_external_test_an_arm_is_compared_with_one_that_was_trained_on_the_same_data(
    ledger: Ledger,
) -> None:
    """The twin of other data is better in validation, and so is its grey level."""
    for data, (ours, twin, grey) in {"a": (0.9, 0.8, 0.1), "b": (0.7, 0.95, 0.94)}.items():
        about: dict[str, Any] = {"task": "clinic", "trained_on": data}
        none = {"model": "intensity", "train": {"steps": 0}}
        arm(ledger, f"{data}_net", "diffusion", gap=0.1, scores=(ours, ours), **about)
        arm(ledger, f"{data}_twin", scores=(twin, twin), **about)
        arm(ledger, f"{data}_grey", scores=(grey,), **none, **about)
    row = only(ledger, TWIN)
    assert (row["cell"], row["against"]) == ("clinic_a_net", "clinic_a_twin")
    assert row["verdict"] == "holds"
    assert catalog(ledger).sql(row["source"]).num_rows == 1


ENDED_EARLY = (0.6, 0.8, 0.7, 0.7)
"""Validations of a network that ended after two without an improvement."""
WHOLE = (0.7, 0.78, 0.79, 0.795, 0.8, 0.805)
"""Validations of a network that made all steps."""


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((*ENDED_EARLY, *WHOLE), "holds"),
        ((*WHOLE, *ENDED_EARLY), "holds"),
        ((*ENDED_EARLY, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), "inconclusive"),
    ],
    ids=["the first ended early", "the last ended early", "the last still learns"],
)
def test_each_network_of_an_ensemble_is_judged_by_its_own_validations(
    ledger: Ledger, scores: tuple[float, ...], verdict: str
) -> None:
    train = {"steps": 60, "patience": 2}
    arm(ledger, "net", "diffusion", gap=0.1, train=train)
    arm(ledger, "deep", "deep_ensemble", networks=2, train=train, scores=scores)
    row = only(ledger, ENSEMBLE)
    assert row["against"] == "task_deep"
    assert row["verdict"] == verdict
    assert row["why"].startswith("task_deep was still learning") == (verdict == "inconclusive")


def test_patients_are_the_units_and_five_are_too_few_where_their_cases_are_not(
    ledger: Ledger,
) -> None:
    """Six patients of four cases that all point one way: 2/2⁶; each model and task is one test."""
    groups, own = [f"p{i // 4}" for i in range(24)], np.repeat(np.linspace(-0.1, 0.1, 6), 4)
    for task in ("a", "b"):
        about: dict[str, Any] = {"task": task, "groups": groups, "cases": 24}
        arm(ledger, "net", "diffusion", dice=0.6 + own - 0.02, **about)
        arm(ledger, "base", model="segformer", dice=0.6 + own, **about)
    *each, _ = claims(ledger, SEGFORMER, "dice")
    assert [(r["images"], r["units"], r["p"]) for r in each] == [(24, 6, 2 / 2**6)] * 2
    assert {r["verdict"] for r in each} == {"inconclusive"}
    assert {r["why"] for r in each} == {"6 test units are too few: p cannot be below 0.062"}


def test_most_patients_against_the_mean_over_cases_is_inconclusive(ledger: Ledger) -> None:
    """40 patients of a case each on which diffusion is worse, 6 of 20 on which it is better."""
    sizes = [1] * 40 + [20] * 6
    groups = [f"p{i:02}" for i, size in enumerate(sizes) for _ in range(size)]
    apart = np.repeat([-0.01] * 40 + [0.1] * 6, sizes)
    about: dict[str, Any] = {"groups": groups, "cases": len(groups)}
    arm(ledger, "net", "diffusion", dice=0.6 + apart, **about)
    arm(ledger, "base", model="segformer", dice=np.full(len(groups), 0.6), **about)
    row = only(ledger, SEGFORMER, "dice")
    assert row["difference_low"] > 0
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "inconclusive"
    assert row["why"].startswith("most test units point the other way")


def test_a_twin_that_was_trained_alike_is_taken_before_a_better_one(ledger: Ledger) -> None:
    arm(ledger, "net", "diffusion", gap=0.1 + SPREAD)
    arm(ledger, "long", gap=0.3 + SPREAD, train={"steps": 3000}, scores=(0.9, 0.9))
    assert only(ledger, TWIN)["against"] == "task_long"
    assert "trained with another steps" in only(ledger, TWIN)["why"]
    arm(ledger, "alike", gap=0.2 + SPREAD)
    assert only(ledger, TWIN)["against"] == "task_alike"


def test_tasks_are_compared_by_the_same_config_of_an_arm(ledger: Ledger) -> None:
    """A grid over schedules: linear is best on one task, cosine on the other."""
    edges = np.linspace(-6, 6, 13)
    for task, best in (("a", "linear"), ("b", "cosine")):
        for schedule in ("linear", "cosine"):
            density = np.linspace(0.9, 1.1, CASES)[:, None] * bump(edges, 0.0, 1.0, 0.3)
            rows = probes(edges, np.full_like(density, 0.1), 0.1 + 2 * np.log(2) * density)
            score = 0.8 if schedule == best else 0.7
            about: dict[str, Any] = {"task": task, "schedule": schedule, "scores": (score,) * 3}
            arm(ledger, f"net_{schedule}", "diffusion", more={"probes": rows}, **about)
    row = only(ledger, "of its own")
    assert row["cell"].removeprefix("a_") == row["against"].removeprefix("b_")


def test_holm_counts_the_tasks_and_one_task_refutes(ledger: Ledger) -> None:
    for task, apart in (("a", -0.02), ("b", -0.02), ("c", 0.02)):
        arm(ledger, "net", "diffusion", gap=0.2 + apart + SPREAD, task=task)
        arm(ledger, "twin", gap=0.2 + SPREAD, task=task)
    *each, over = claims(ledger, TWIN)
    assert [r["verdict"] for r in each] == ["holds", "holds", "does not hold"]
    assert min(r["p_holm"] / r["p"] for r in each) >= 1
    assert max(r["p_holm"] / r["p"] for r in each) == pytest.approx(3)
    assert (over["task"], over["tasks"], over["verdict"]) == (None, 3, "does not hold")
    assert over["why"] == "holds on a, b; does not hold on c"
    section = next(s for s in build_sections(catalog(ledger)) if s.name == "claims")
    told = [line for b in section.all_blocks if isinstance(b, Note) for line in b.lines]
    assert (
        f"{TWIN}, in ECE – does not hold. In 3 comparisons of the networks as trained:"
        " holds in 2, does not hold in 1 (differences −0.020 to +0.020)."
    ) in told


def test_six_tasks_are_tested_over_tasks(ledger: Ledger) -> None:
    apart = -0.01 * np.arange(1, 7)
    for task, difference in zip("abcdef", apart, strict=True):
        arm(ledger, "net", "diffusion", dice=DICE + difference, task=task)
        arm(ledger, "base", model="segformer", task=task)
    over = next(r for r in claims(ledger, SEGFORMER, "dice") if r["task"] is None)
    assert over["verdict"] == "holds"
    assert over["p"] == pytest.approx(stats.wilcoxon(apart).pvalue)
    ends = stats.t.interval(0.95, 5, apart.mean(), stats.sem(apart))
    found = over["difference"], over["difference_low"], over["difference_high"]
    assert found == pytest.approx((apart.mean(), *ends), abs=1e-4)


def test_the_report_answers_claim_by_claim(ledger: Ledger) -> None:
    arm(ledger, "net", "diffusion", gap=0.1)
    arm(ledger, "twin")
    section = next(s for s in build_sections(catalog(ledger)) if s.name == "claims")
    told = " ".join(line for b in section.all_blocks if isinstance(b, Note) for line in b.lines)
    assert "ensemdiff: better calibrated than its feed-forward twin, in ECE – holds: " in told
    assert "less accurate than nnU-Net – inconclusive: there is no nnU-Net" in told
    (table,) = (b for b in section.all_blocks if isinstance(b, Table))
    assert {row["claim"] for row in table.rows} == {1, 2, 3, 4}

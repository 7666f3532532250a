"""Claims two to four, about timesteps: true, false or inconclusive; and the tests behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics import sign_flip
from tests.claims import CASES, EDGES, Array, arm, claims, only
from tests.fingerprints import bump, probes


def over_t(with_image: Array, without: Array | None = None, dice: Array | None = None) -> Any:
    """Probes of these errors in each stratum of t, the noise of cases about them."""
    draws = np.random.default_rng(0)
    noise = 1 + 0.02 * draws.normal(size=(CASES, 5))
    without = np.full(5, 1.0) if without is None else without
    rows = probes(EDGES, with_image * noise, without * noise, axis="t")
    for row in rows:
        hits = 100 * (dice if dice is not None else np.linspace(0.95, 0.6, 5))[row["bin"]]
        row |= {"tp": round(hits), "fp": 100 - round(hits), "fn": 100 - round(hits), "tn": 0}
    return {"probes": rows}


CLEAN_END = np.array([0.99, 0.7, 0.5, 0.3, 0.2])


@pytest.mark.parametrize(
    ("with_image", "dice", "verdict"),
    [
        (CLEAN_END, None, "holds"),
        (np.full(5, 0.5), None, "does not hold"),
        (np.full(5, 0.95), None, "inconclusive"),
        (CLEAN_END[::-1], None, "does not hold"),  # the noisy end: nothing but the image tells
    ],
)
def test_timesteps_at_which_the_image_hardly_helps(
    ledger: Ledger, with_image: Array, dice: Array | None, verdict: str
) -> None:
    arm(ledger, "net", "diffusion", more=over_t(with_image, dice=dice))
    row = only(ledger, "hardly helps")
    assert row["verdict"] == verdict
    if verdict == "holds":
        assert row["why"].startswith("t 0.00 to 0.20: ")
        assert row["value"] == pytest.approx(0.01, abs=1e-9)
        # Two-sided; and where all signs change, another stratum is the largest.
        assert row["p_holm"] == pytest.approx(2 * 2 / 2**CASES)


def test_a_share_of_no_error_is_null(ledger: Ledger) -> None:
    """Where the noisy mask decides, there is no error that the image could take away."""
    exact = np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    arm(ledger, "net", "diffusion", more=over_t(exact / 2, exact))
    row = only(ledger, "hardly helps")
    assert row["verdict"] == "inconclusive"
    assert [row[k] for k in ("value", "difference", "difference_low")] == [None] * 3


def test_a_mask_that_may_be_informative_leaves_it_inconclusive(ledger: Ledger) -> None:
    """The image takes away 1 % at the clean end, where Dice is above that of the noisy end on most
    cases only.
    """
    more = over_t(CLEAN_END)
    for row in more["probes"]:
        if row["bin"] == 0:
            hits = 60 + (40 if int(row["case"][1:4]) % 2 else -4)
            row |= {"tp": hits, "fp": 100 - hits, "fn": 100 - hits}
    arm(ledger, "net", "diffusion", more=more)
    assert only(ledger, "hardly helps")["verdict"] == "inconclusive"


def test_curves_of_patients_are_no_curves_of_tiles(ledger: Ledger) -> None:
    """Losses that are flat in the mean over patients whose own are not: 40 studies."""
    draws, seen = np.random.default_rng(0), 0
    for i in range(40):
        own = np.repeat(draws.normal(0, 0.2, (6, 5)), 6, axis=0)
        rows = probes(EDGES, 1 + own, np.full((36, 5), 2.0), axis="t")
        for row in rows:
            row["group"] = f"p{int(row['case'][1:4]) // 6}"
        arm(ledger, f"net{i}", "diffusion", model=f"m{i:02}", more={"probes": rows})
    rows = [r for r in claims(ledger, "not monotone") if r["p"] is not None]
    assert {r["units"] for r in rows} == {6}
    seen = sum(r["p"] <= 0.05 for r in rows)
    assert seen <= 40 * 0.05 + 3 * np.sqrt(40 * 0.05 * 0.95)


@pytest.mark.parametrize(
    ("loss", "verdict", "value"),
    [
        (np.array([1.0, 0.8, 0.6, 0.4, 0.2]), "does not hold", None),
        (np.array([0.2, 0.5, 0.9, 0.6, 0.4]), "holds", 0.5),
        (np.array([0.9, 0.4, 0.2, 0.4, 0.5]), "holds", 0.3),
        (np.array([0.5, 0.5, 0.5, 0.5, 0.5]), "inconclusive", None),
    ],
)
def test_a_loss_that_rises_and_falls(
    ledger: Ledger, loss: Array, verdict: str, value: float | None
) -> None:
    arm(ledger, "net", "diffusion", more=over_t(loss))
    row = only(ledger, "not monotone")
    assert row["verdict"] == verdict
    if value is not None:
        assert row["value"] == pytest.approx(value, abs=0.05)
    if verdict == "does not hold":
        assert row["why"].startswith("it only falls: interval and test agree")


@pytest.mark.parametrize(
    ("loss", "p", "verdict"),
    [
        # The flip of all signs shows a fall and a rise as well, so six units decide nothing.
        (np.array([0.2, 0.5, 0.9, 0.6, 0.4]), 4 / 2**6, "inconclusive"),
        (np.array([1.0, 0.8, 0.6, 0.4, 0.2]), 2 / 2**6, "does not hold"),
    ],
)
def test_six_units_show_that_a_loss_only_falls_and_are_too_few_for_both_ways(
    ledger: Ledger, loss: Array, p: float, verdict: str
) -> None:
    noise = 1 + 0.02 * np.random.default_rng(0).normal(size=(6, 5))
    rows = probes(EDGES, loss * noise, np.full((6, 5), 1.0), axis="t")
    for row in rows:
        row["group"] = row["case"]
    arm(ledger, "net", "diffusion", more={"probes": rows})
    found = only(ledger, "not monotone")
    assert (found["verdict"], found["units"]) == (verdict, 6)
    assert found["p"] == pytest.approx(p)
    too_few = "6 test units are too few: p cannot be below 0.062" in found["why"]
    assert too_few == (verdict == "inconclusive")


def test_tasks_differ_if_they_are_further_apart_than_runs_of_one(ledger: Ledger) -> None:
    edges = np.linspace(-6, 6, 13)
    for task, centre in (("low", -2.0), ("high", 2.0)):
        for seed in (0, 1, 2):
            density = bump(edges, centre + 0.1 * seed, 1.0, 0.3)
            about = np.linspace(0.9, 1.1, CASES)[:, None] * density
            with_image = np.full_like(about, 0.1)
            rows = probes(edges, with_image, with_image + 2 * np.log(2) * about)
            arm(ledger, "net", "diffusion", task=task, seed=seed, more={"probes": rows})
    row = only(ledger, "of its own")
    assert (row["verdict"], row["task"]) == ("holds", "high and low")
    assert row["value_against"] == pytest.approx((0.1 + 0.1 + 0.2) / 3, abs=0.02)
    assert row["value"] == pytest.approx(4.0, abs=0.1)


def test_flips_of_one_difference_are_scipys_permutation_test() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, (9, 1))
    exact = stats.permutation_test(
        (values[:, 0],),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=9999,
    )
    assert sign_flip.some_above(values)[0] == pytest.approx(exact.pvalue)
    assert sign_flip.all_above(values) == pytest.approx(exact.pvalue)


def test_flips_of_many_columns_find_something_by_chance_once_in_twenty() -> None:
    """1,000 times nothing, in 20 dependent columns of 10 units: 0.05 ± 0.02."""
    draws = np.random.default_rng(2)
    values = draws.normal(size=(1000, 10, 20)) + draws.normal(size=(1000, 10, 1))
    found = np.mean([sign_flip.some_above(v).min() <= 0.05 for v in values])
    assert 0.03 <= found <= 0.07
    all_of_them = np.mean([sign_flip.all_above(v) <= 0.05 for v in values])
    assert all_of_them <= 0.05


def test_a_unit_is_the_mean_of_its_rows() -> None:
    values = np.array([[1.0], [3.0], [5.0]])
    assert sign_flip.unit_means(values, np.array([4, 4, 7])).tolist() == [[2.0], [5.0]]


def test_failure_signs_and_verdicts_of_a_cell_never_contradict(ledger: Ledger) -> None:
    """Random curves of 24 cells, several per model: whichever arm the claims are about, its
    fingerprint shows a sign if and only if the claim holds for these networks.
    """
    draws = np.random.default_rng(3)
    for i in range(24):
        shapes = [CLEAN_END, np.full(5, 0.99), draws.uniform(0.2, 1.2, 5)]
        mean = shapes[i % 3] * draws.uniform(0.8, 1.2)
        noise = 1 + draws.choice([0.01, 0.1, 0.5]) * draws.normal(size=(24, 5))
        without = np.full((24, 5), draws.uniform(0.9, 1.1)) * noise
        rows = probes(EDGES, mean * noise, without, axis="t")
        rows += probes(EDGES, mean * noise, without)
        dice = np.sort(draws.uniform(0.5, 0.99, 5))[::-1]
        for row in rows:
            hits = round(100 * dice[row["bin"]] + draws.normal(0, 2))
            row |= {"tp": hits, "fp": 100 - hits, "fn": 100 - hits, "tn": 0}
        model = f"m{i % 8}"
        arm(ledger, f"net{i}", "diffusion", model=model, task=f"t{i // 12}", more={"probes": rows})
    signs = {r["cell"]: r["signatures"] for r in catalog(ledger)["information"].to_pylist()}
    seen: set[tuple[str, str]] = set()
    for statement, sign in (("hardly helps", "image hardly helps"), ("monotone", "not monotone")):
        for row in claims(ledger, statement):
            if row["cell"] is not None:
                assert (sign in signs[row["cell"]]) == (row["as_trained"] == "holds")
                seen.add((sign, row["as_trained"]))
    assert {verdict for _, verdict in seen} == {"holds", "does not hold", "inconclusive"}
    assert {sign for sign, verdict in seen if verdict == "holds"} == {
        "image hardly helps",
        "not monotone",
    }

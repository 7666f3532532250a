"""Views over many cells: ranks, twins, Pareto fronts, reliability; known answers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics import bootstrap
from orchestrator.views.catalog import Catalog
from tests.cells import as_counts, binned, commit, named

DEMSAR = """
.763 .768 .771 .798
.599 .591 .590 .569
.954 .971 .968 .967
.628 .661 .654 .657
.882 .888 .886 .898
.936 .931 .916 .931
.661 .668 .609 .685
.583 .583 .563 .625
.775 .838 .866 .875
1.00 1.00 1.00 1.00
.940 .962 .965 .962
.619 .666 .614 .669
.972 .981 .97501 .975
.957 .978 .946 .970
"""
"""AUC of four classifiers on 14 data sets: Demšar 2006, table 6; .97501 is .975 there, ranked first
of the two."""


def test_mean_ranks_and_critical_difference_are_those_of_the_paper(ledger: Ledger) -> None:
    """Its 14 data sets are the cases of two tasks here: ranks are within a case."""
    values = np.array([line.split() for line in DEMSAR.split("\n") if line], float)
    arms = ["c45", "c45_m", "c45_cf", "c45_m_cf"]
    for (task, some), (i, arm) in itertools.product(
        {"one": values[:6], "two": values[6:]}.items(), enumerate(arms)
    ):
        commit(ledger, f"{task}{i}".ljust(16, "0"), arm, as_counts(some[:, i]), task=task)
    rows = named(catalog(ledger)["ranks"].to_pylist(), "arm", metric="dice")
    assert [round(rows[arm]["mean_rank"], 3) for arm in arms] == [3.143, 2.0, 2.893, 1.964]
    for row in rows.values():
        assert (row["arms"], row["tasks"], row["blocks"]) == (4, 2, 14)
        assert row["critical_difference"] == pytest.approx(1.25, abs=5e-3)
        assert row["friedman_p"] == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)


def test_a_task_that_an_arm_has_no_result_on_is_not_ranked(ledger: Ledger) -> None:
    for task, arm, value in itertools.product(("t", "u"), ("a", "b", "c"), (0.5,)):
        outcome = "failed" if (task, arm) == ("u", "b") else "finished"
        commit(
            ledger,
            f"{task}{arm}".ljust(16, "0"),
            arm,
            as_counts([value] * 3),
            task=task,
            outcome=outcome,
        )
    rows = catalog(ledger)["ranks"].to_pylist()
    dice = [r for r in rows if r["metric"] == "dice"]
    assert {(r["arm"], r["tasks"], r["blocks"]) for r in dice} == {(a, 1, 3) for a in "abc"}
    assert {(r["mean_rank"], r["friedman_p"]) for r in dice} == {(2.0, 1.0)}, "all are alike"


def test_two_arms_are_no_family_to_rank(ledger: Ledger) -> None:
    for arm in "ab":
        commit(ledger, arm * 16, arm, as_counts([0.5, 0.6]))
    assert catalog(ledger)["ranks"].num_rows == 0


SURE = {f"c{i}": [(0.9, 100, 60 + 5 * i)] for i in range(4)}
HUMBLE = {f"c{i}": [(0.7, 100, 60 + 5 * i)] for i in range(4)}


@pytest.fixture
def families(ledger: Ledger) -> Catalog:
    """Diffusion of 4 passes; twins of 1 and of 4, which trained for longer; a baseline."""
    low, high = as_counts([0.5, 0.6, 0.7, 0.8]), as_counts([0.7, 0.7, 0.8, 0.8])
    ff: dict[str, Any] = {"mode": "feedforward"}
    commit(ledger, "a" * 16, "diffusion", low, HUMBLE, passes_per_image=4, test_seconds=4.0)
    commit(ledger, "b" * 16, "twin_1", high, SURE, **ff, train_seconds=9.5)
    commit(
        ledger,
        "c" * 16,
        "twin_4",
        high,
        SURE,
        **ff,
        passes_per_image=4,
        test_seconds=4.0,
        train_seconds=8.0,
        world_size=2,
    )
    commit(ledger, "d" * 16, "base", low, SURE, **ff, model="intensity")
    return catalog(ledger)


def test_diffusion_is_paired_with_every_twin_of_its_model(families: Catalog) -> None:
    rows = families["twins"].to_pylist()
    assert {(r["cell"], r["against"]) for r in rows} == {
        ("task_diffusion", "task_twin_1"),
        ("task_diffusion", "task_twin_4"),
    }
    dice = named(rows, "against", metric="dice")
    for row in dice.values():
        assert row["difference"] == pytest.approx(-0.1)
        assert row["better"] == pytest.approx(0.5 / 4)
        assert row["p_holm"] == pytest.approx(min(1, 2 * row["wilcoxon_p"]))
    ece = named(rows, "against", metric="ece")["task_twin_1"]
    assert ece["difference"] == pytest.approx(abs(0.7 - 0.675) - abs(0.9 - 0.675))


def test_what_both_sides_spent_is_beside_their_difference(families: Catalog) -> None:
    rows = named(families["twins"].to_pylist(), "against", metric="dice")
    one, four = rows["task_twin_1"], rows["task_twin_4"]
    assert (one["passes"], one["passes_against"], four["passes_against"]) == (4, 1, 4)
    assert (one["device_seconds"], one["device_seconds_against"]) == (14.0, 11.5)
    assert four["device_seconds_against"] == 2 * (8.0 + 4.0)
    assert (one["equal_passes"], one["equal_seconds"]) == (False, True)
    assert (four["equal_passes"], four["equal_seconds"]) == (True, False)


def test_a_front_is_what_nothing_dominates(ledger: Ledger) -> None:
    """(Dice, passes): dear and best; dominated by it; cheap; the same again; dear and worse."""
    points = {"best": (0.9, 8), "beaten": (0.8, 8), "cheap": (0.7, 1), "also": (0.7, 1)}
    points["worst"] = (0.6, 4)
    for i, (arm, (value, passes)) in enumerate(points.items()):
        pixels = {} if arm == "cheap" else SURE
        counts = as_counts([value] * 4)
        commit(ledger, f"{i:016x}", arm, counts, pixels, passes_per_image=passes)
    commit(ledger, "f" * 16, "worse", as_counts([0.1] * 4), SURE, task="another")
    rows = named(catalog(ledger)["pareto"].to_pylist(), "arm")
    assert {arm for arm, row in rows.items() if row["dice_passes"]} == {
        "best",
        "cheap",
        "also",
        "worse",
    }
    assert {arm for arm, row in rows.items() if row["ece_passes"]} == {"also", "worse"}
    assert {arm for arm, row in rows.items() if row["dice_training"]} == {"best", "worse"}
    assert rows["cheap"]["ece"] is None


@pytest.mark.parametrize("seeds", [1, 2])
def test_bins_of_a_reliability_diagram_add_up_to_the_leaderboards_ece(
    ledger: Ledger, seeds: int
) -> None:
    draws = np.random.default_rng(0)

    def pixels() -> dict[str, list[tuple[float, int, int]]]:
        return {
            f"c{i}": [(float(p), 50, int(draws.integers(0, 51))) for p in draws.uniform(0, 1, 30)]
            for i in range(4)
        }

    other = [
        {"case": case, "class": "y", **binned(*pixel)}
        for case, some in pixels().items()
        for pixel in some
    ]
    counts = as_counts([0.5] * 4)
    for seed in range(seeds):
        more = {"calibration": other}
        commit(ledger, f"{seed:016x}", "net", counts, pixels(), seed=seed, more=more)
    tables = catalog(ledger)
    rows = tables["reliability"].to_pylist()
    of_class: list[float] = []
    for c in ("x", "y"):
        mine = [r for r in rows if r["class"] == c]
        gaps = [r["count"] * abs(r["accuracy"] - r["confidence"]) for r in mine]
        assert sum(r["count"] for r in mine) == seeds * 4 * 30 * 50
        of_class.append(sum(gaps) / sum(r["count"] for r in mine))
    (board,) = tables["leaderboard"].to_pylist()
    if seeds == 1:
        assert np.mean(of_class) == pytest.approx(board["ece"])
    else:
        assert np.mean(of_class) < board["ece"], "errors of two seeds cancel in the diagram"
    for r in rows:
        assert (r["low"], r["high"]) == (r["bin"] / 15, (r["bin"] + 1) / 15)
        assert r["low"] <= r["confidence"] <= r["high"]
        assert (r["accuracy_low"], r["accuracy_high"]) == (None, None), "of four cases"


def test_intervals_of_a_bin_are_over_cases_and_empty_bins_are_left_out(ledger: Ledger) -> None:
    """One bin of two holds all cases, the other one only: too few to say how sure it is."""
    true = [10, 30, 20, 40, 45, 35]
    pixels = {f"c{i}": [(0.5, 50, t)] for i, t in enumerate(true)}
    pixels["c2"] = [*pixels["c2"], (0.95, 10, 7)]
    commit(ledger, "a" * 16, "net", as_counts([0.5] * 6), pixels)
    middle, high = catalog(ledger)["reliability"].to_pylist()
    assert (middle["bin"], middle["count"], high["bin"], high["count"]) == (7, 300, 14, 10)
    times = bootstrap.weights(["run"] * 6, np.arange(6))
    low, top = bootstrap.interval(times @ np.array(true) / (50 * times.sum(1)))
    assert (middle["accuracy_low"], middle["accuracy_high"]) == pytest.approx((low, top))
    assert (high["accuracy"], high["accuracy_low"], high["accuracy_high"]) == (0.7, None, None)


def test_one_data_set_with_two_settings_is_two_tasks(ledger: Ledger) -> None:
    """Cases of the same names are no pairs where what was drawn under them differs."""
    for i, scale in enumerate((0.1, 0.2)):
        config = {"task": {"patterns": {"scale": scale}}}
        commit(
            ledger, f"{i}" * 16, f"arm{i}", as_counts([0.5, 0.9]), task="patterns", config=config
        )
    tables = catalog(ledger)
    assert tables["ablation"].num_rows == 0
    named = {row["task"] for row in tables["leaderboard"].to_pylist()}
    assert named == {"patterns-0.1", "patterns-0.2"}


def test_another_studys_settings_do_not_rename_a_task(ledger: Ledger) -> None:
    for i, scale in enumerate((0.1, 0.2)):
        config = {"task": {"patterns": {"scale": scale}}}
        commit(
            ledger,
            f"{i}" * 16,
            "arm",
            as_counts([0.5, 0.9]),
            study=f"study{i}",
            task="patterns",
            config=config,
        )
    assert {row["task"] for row in catalog(ledger)["leaderboard"].to_pylist()} == {"patterns"}

"""Pairs of cells: effects, tests and their families, by known answers and by simulation."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics import bootstrap
from orchestrator.statistics.multiple_testing import holm
from orchestrator.views.catalog import Catalog
from tests.cells import commit
from tests.conftest import Segprint

GOOD = [(9, 1, 1), (8, 1, 1), (7, 2, 1), (9, 0, 1), (5, 1, 0), (6, 2, 1)]
MIDDLE = [(8, 1, 2), (8, 1, 1), (6, 2, 2), (8, 1, 1), (4, 1, 1), (6, 2, 2)]
BAD = [(5, 4, 4), (9, 0, 0), (4, 4, 4), (5, 3, 3), (3, 3, 3), (3, 3, 3)]
SURE = {f"c{i}": [(0.9, 100, 60 + 5 * i)] for i in range(6)}
HUMBLE = {f"c{i}": [(0.7, 100, 60 + 5 * i)] for i in range(6)}


def dice(counts: list[tuple[int, int, int]]) -> np.ndarray[Any, Any]:
    return np.array([2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counts])


@pytest.fixture
def three(ledger: Ledger) -> Catalog:
    commit(ledger, "a" * 16, "good", GOOD, HUMBLE)
    commit(ledger, "b" * 16, "middle", MIDDLE, SURE)
    commit(ledger, "c" * 16, "bad", BAD, SURE)
    return catalog(ledger)


def pair(rows: list[dict[str, Any]], one: str, other: str, metric: str) -> dict[str, Any]:
    """The row of two arms; where it is the other way round, its sign is that."""
    (row,) = [
        r
        for r in rows
        if r["metric"] == metric and {r["cell"], r["against"]} == {f"task_{one}", f"task_{other}"}
    ]
    return row


def test_every_pair_of_a_study_is_one_family(three: Catalog) -> None:
    rows = three["ablation"].to_pylist()
    arms = {"task_good": GOOD, "task_middle": MIDDLE, "task_bad": BAD}
    mine = [r for r in rows if r["metric"] == "dice"]
    raw = [stats.wilcoxon(dice(arms[r["cell"]]) - dice(arms[r["against"]])).pvalue for r in mine]
    assert [r["wilcoxon_p"] for r in mine] == pytest.approx(raw)
    smallest, middle, largest = sorted(raw)
    stepped = [3 * smallest, max(3 * smallest, 2 * middle)]
    expected = dict(zip(sorted(raw), [*stepped, max(stepped[1], largest)], strict=True))
    assert [r["p_holm"] for r in mine] == pytest.approx([min(1, expected[p]) for p in raw])


def test_better_is_the_share_of_cases_a_tie_is_half_of_one(three: Catalog) -> None:
    rows = three["ablation"].to_pylist()
    row = pair(rows, "good", "middle", "dice")  # better on five of six, alike on one
    assert row["better"] == pytest.approx(5.5 / 6 if row["cell"] == "task_good" else 0.5 / 6)
    row = pair(rows, "good", "bad", "ece")  # lower is better
    ahead = [abs(90 - true) - abs(70 - true) for true in 60 + 5 * np.arange(6)]
    better = float((np.sign(ahead).mean() + 1) / 2)
    assert 0.5 < better < 1
    assert row["better"] == pytest.approx(better if row["cell"] == "task_good" else 1 - better)


def test_a_pooled_metric_is_tested_by_exchanging_the_sides_of_cases(three: Catalog) -> None:
    """All 2⁶ exchanges, one by one: how many give a difference of ECE as large as was found."""
    row = pair(three["ablation"].to_pylist(), "good", "bad", "ece")
    true = 60 + 5 * np.arange(6)

    def apart(moved: tuple[int, ...]) -> float:
        p = np.where(moved, [[0.9], [0.7]], [[0.7], [0.9]])  # the sides' bins: .7 and .9
        return float(
            np.diff([sum(_gap(p[side], true, b) for b in (0.7, 0.9)) for side in (0, 1)])[0]
        )

    found = [abs(apart(moved)) for moved in itertools.product((0, 1), repeat=6)]
    exact = np.mean(np.array(found) >= found[0] - 1e-9)
    assert row["wilcoxon_p"] is None
    assert row["permutation_p"] == pytest.approx(exact, abs=4 * np.sqrt(exact / 2000))
    same = pair(three["ablation"].to_pylist(), "middle", "bad", "ece")
    assert (same["permutation_p"], same["p_holm"], same["better"]) == (1.0, 1.0, 0.5)


def test_sides_that_some_exchange_leaves_without_pixels_have_no_p_value(ledger: Ledger) -> None:
    seen, empty = (0.9, 100, 60), (0.9, 0, 0)
    counts = [(5, 1, 1), (6, 1, 1)]
    commit(ledger, "a" * 16, "one", counts, {"c0": [seen], "c1": [empty]})
    commit(ledger, "b" * 16, "other", counts, {"c0": [empty], "c1": [seen]})
    row = pair(catalog(ledger)["ablation"].to_pylist(), "one", "other", "ece")
    assert (row["permutation_p"], row["p_holm"], row["better"]) == (None, None, None)


def _gap(p: np.ndarray[Any, Any], true: np.ndarray[Any, Any], level: float) -> float:
    mine = p == level
    return abs(100 * level * mine.sum() - true[mine].sum()) / 600


def test_errors_of_calibration_of_two_seeds_do_not_cancel(ledger: Ledger) -> None:
    """One seed is too sure by 0.2 and the other too humble by 0.1 or 0.2; pooled they cancel."""
    for arm, humble in (("one", 0.7), ("other", 0.8)):
        commit(ledger, f"{arm}0", arm, GOOD, {f"c{i}": [(0.9, 100, 70)] for i in range(6)})
        pixels = {f"c{i}": [(0.6, 100, round(100 * humble))] for i in range(6)}
        commit(ledger, f"{arm}1", arm, GOOD, pixels, seed=1)
    tables = catalog(ledger)
    ece = {r["cell"]: r["ece"] for r in tables["leaderboard"].to_pylist()}
    assert ece == pytest.approx({"task_one": 0.15, "task_other": 0.2})
    row = pair(tables["ablation"].to_pylist(), "one", "other", "ece")
    sign = 1 if row["cell"] == "task_other" else -1
    assert sign * row["difference"] == pytest.approx(0.05)
    # One of the two seeds has no difference, and each draw of seeds has its share of the other.
    ends = sorted(sign * row[f"difference_{end}"] for end in ("low", "high"))
    assert ends == pytest.approx([0.0, 0.1])


def test_the_interval_of_a_difference_ends_at_the_largest_possible_difference(
    ledger: Ledger,
) -> None:
    """Two cases in which one arm is perfect and the other misses all, and one in which both are."""
    commit(ledger, "a" * 16, "perfect", [(9, 0, 0)] * 3)
    commit(ledger, "b" * 16, "empty", [(0, 9, 9), (0, 9, 9), (9, 0, 0)])
    row = pair(catalog(ledger)["ablation"].to_pylist(), "perfect", "empty", "dice")
    ends = [row["difference_low"], row["difference_high"]]
    assert abs(row["difference"]) == pytest.approx(2 / 3)
    assert min(ends) >= -1
    assert max(ends) <= 1


def test_twins_of_a_large_study_draw_enough_exchanges_for_their_family(ledger: Ledger) -> None:
    """The least p of a difference in the same direction on 24 cases is that of one draw."""
    cases = [f"c{i}" for i in range(24)]
    humble, wrong = ({case: [(p, 100, 80)] for case in cases} for p in (0.7, 0.1))
    for number in range(60):
        for mode in ("diffusion", "feedforward"):
            of = {"model": f"m{number}", "mode": mode, "cell": f"task_m{number}_{mode}"}
            given = wrong if number == 0 and mode == "diffusion" else humble
            commit(ledger, f"{number:02}{mode}"[:16], mode, GOOD * 4, given, **of)
    rows = [r for r in catalog(ledger)["twins"].to_pylist() if r["metric"] == "ece"]
    assert {r["family"] for r in rows} == {60}
    assert min(r["permutation_p"] for r in rows) == pytest.approx(1 / (40 * 60))


def test_type_one_error_of_a_family_is_the_nominal_one() -> None:
    """Five arms without any difference: Wilcoxon and Holm reject some pair in at most 5 %."""
    draws, studies, alpha = np.random.default_rng(0), 2000, 0.05
    values = draws.normal(size=(studies, 5, 20)) + draws.normal(size=(studies, 1, 20))
    pairs = list(itertools.combinations(range(5), 2))
    p = np.stack(
        [stats.wilcoxon(values[:, i], values[:, j], axis=1).pvalue for i, j in pairs], axis=1
    )
    noise = 3 * np.sqrt(alpha * (1 - alpha) / studies)
    assert (p[:, 0] <= alpha).mean() == pytest.approx(alpha, abs=noise)
    assert (p.min(1) <= alpha).mean() > 0.15, "unadjusted, some pair is"
    rejected = np.mean([holm(row).min() <= alpha for row in p])
    assert 0.01 < rejected <= alpha + noise


def test_paired_intervals_cover_the_true_difference() -> None:
    """Percentile intervals over 40 cases, of two arms whose cases have most of their spread in
    common: a little short of 95 %, as is known of them.
    """
    draws, studies, true = np.random.default_rng(1), 1000, 0.3
    case = draws.normal(size=(studies, 40))
    one, other = (case + 0.5 * draws.normal(size=case.shape) + shift for shift in (true, 0.0))
    counted = bootstrap.weights(["run"] * 40, np.arange(40))
    means = counted @ (one - other).T / counted.sum(1, keepdims=True)
    low, high = bootstrap.interval(means)
    covered = ((low <= true) & (true <= high)).mean()
    assert covered == pytest.approx(0.94, abs=0.01 + 3 * np.sqrt(0.05 * 0.95 / studies))


def compared(inline: Segprint, ledger: Ledger, *words: str) -> list[dict[str, Any]]:
    said = inline("--store", ledger.store.url, "compare", *words, "--json")
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def test_two_studies_are_compared_cell_by_cell_and_are_one_family(
    ledger: Ledger, inline: Segprint
) -> None:
    for study, sign in (("monday", "0"), ("friday", "1")):
        for arm, rows in (("good", GOOD), ("bad", BAD)):
            counts = rows if sign == "0" else MIDDLE
            commit(ledger, f"{arm[0]}{sign}".ljust(16, "0"), arm, counts, study=study)
    rows = [r for r in compared(inline, ledger, "monday", "friday") if r["metric"] == "dice"]
    assert [(r["one"], r["other"]) for r in rows] == [
        ("monday/task_bad", "friday/task_bad"),
        ("monday/task_good", "friday/task_good"),
    ]
    raw = [r["wilcoxon_p"] for r in rows]
    assert raw == pytest.approx(
        [stats.wilcoxon(dice(a) - dice(MIDDLE)).pvalue for a in (BAD, GOOD)]
    )
    assert [r["p_holm"] for r in rows] == pytest.approx(holm(np.array(raw)).tolist())


def test_one_study_by_the_code_that_trained_it_in_whichever_revision(
    ledger: Ledger, inline: Segprint
) -> None:
    commit(ledger, "a" * 16, "net", BAD, code="0ld123", revision="r1")
    commit(ledger, "b" * 16, "net", GOOD, code="new456+", revision="r2")
    rows = {r["metric"]: r for r in compared(inline, ledger, "study@new", "study@0ld")}
    assert rows["dice"]["difference"] == pytest.approx((dice(GOOD) - dice(BAD)).mean())
    assert (rows["dice"]["one"], rows["dice"]["other"]) == (
        "study@new/task_net",
        "study@0ld/task_net",
    )
    (arm,) = {r["one"] for r in compared(inline, ledger, "study@new/net", "study@0ld/task_net")}
    assert arm == "study@new/task_net"


def test_code_that_trained_nothing_is_named_with_what_did(ledger: Ledger, inline: Segprint) -> None:
    commit(ledger, "a" * 16, "net", BAD, code="0ld123")
    said = inline("--store", ledger.store.url, "compare", "study@zzz", "study@0ld")
    assert said.returncode == 2
    assert "'study@zzz': no finished final trial of study was trained by code" in said.stderr
    assert "choices: 0ld123" in said.stderr
    said = inline("--store", ledger.store.url, "compare", "stduy@0ld", "study@0ld")
    assert said.returncode == 2
    assert "'stduy@0ld' is not a study" in said.stderr

"""Metrics of cells and of their readings, on ledgers whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.commands.sweep import leaderboard
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import write_report
from orchestrator.statistics import bootstrap
from orchestrator.views.catalog import Catalog
from tests.intervals import mean_with_interval
from tests.unit.test_tables import commit_final
from trainables.metrics import ratio

BIN: dict[str, Any] = {
    "bin": 0,
    "count": 10,
    "p_sum": 1.0,
    "y_sum": 6.0,
    "square_sum": 1.0,
    "nll_sum": 1.0,
}


def counted(case: str, tp: int, fp: int, fn: int, **key: Any) -> dict[str, Any]:
    return {"reading": "sample", "case": case, "tp": tp, "fp": fp, "fn": fn, "tn": 0, **key}


def found(case: str, true: int, predicted: int, iou: float, **key: Any) -> dict[str, Any]:
    return {
        "case": case,
        "true_instances": true,
        "predicted_instances": predicted,
        "matched": int(iou > 0),
        "matched_iou_sum": iou,
        "aji_intersection": int(10 * iou),
        "aji_union": 10 * max(true, predicted),
        **key,
    }


@pytest.fixture
def read(ledger: Ledger) -> Catalog:
    """An arm with a control, a blend and an auxiliary output that is better than its sample."""
    commit_final(
        ledger,
        "1" * 16,
        "net",
        [(1, 1, 1), (1, 1, 1)],
        cases=[
            counted("c0", 1, 1, 1, reading="shuffled_image"),
            counted("c0", 1, 0, 1, reading="blend"),
            counted("c1", 1, 0, 1, reading="blend"),
            counted("c0", 4, 0, 0, reading="auxiliary"),
            counted("c1", 2, 1, 1, reading="auxiliary"),
        ],
        calibration=[{"case": c, **BIN, "reading": "auxiliary"} for c in ("c0", "c1")],
    )
    commit_final(ledger, "0" * 16, "base", [(1, 1, 1)] * 2)
    return catalog(ledger)


def test_the_leaderboard_counts_the_sample_only(read: Catalog) -> None:
    net = {row["arm"]: row for row in read["leaderboard"].to_pylist()}["net"]
    assert net["dice"] == pytest.approx(0.5)
    assert net["ece"] == pytest.approx(0.2)


def test_readings_are_rows_of_their_own(read: Catalog) -> None:
    rows = [r for r in read["readings"].to_pylist() if r["arm"] == "net"]
    assert [(r["reading"], r["images"], r["seeds"]) for r in rows] == [
        ("sample", 2, 1),
        ("auxiliary", 2, 1),
        ("blend", 2, 1),
        ("shuffled_image", 1, 1),
    ]
    sample, auxiliary, blend, shuffled = rows
    assert sample["dice"] == pytest.approx(0.5)
    assert auxiliary["dice"] == pytest.approx((1 + 4 / 6) / 2)
    assert auxiliary["iou"] == pytest.approx((1 + 2 / 4) / 2)
    assert 0 <= auxiliary["dice_low"] < 4 / 6
    assert auxiliary["dice_high"] == 1.0  # no Dice is above 1
    assert shuffled["dice"] == pytest.approx(0.5)
    assert shuffled["dice_low"] is shuffled["dice_method"] is None  # a single case has no spread
    assert (sample["ece"], auxiliary["ece"]) == (pytest.approx(0.2), pytest.approx(0.5))
    assert blend["dice"] == pytest.approx(2 / 3)
    assert shuffled["ece"] is None
    assert {r["reading"] for r in read["readings"].to_pylist() if r["arm"] == "base"} == {"sample"}


def test_spread_and_objects_are_on_the_leaderboard_where_they_were_measured(ledger: Ledger) -> None:
    samples = {
        "truth_pairs": 2,
        "member_pairs": 4,
        "annotation_pairs": 1,
        "truth_iou_sum": 1.0,
        "member_iou_sum": 3.0,
        "annotation_iou_sum": 1.0,
        "matched": 2,
        "matched_iou_sum": 1.0,
    }
    commit_final(
        ledger,
        "1" * 16,
        "net",
        [(1, 1, 1)] * 3,
        samples=[{"case": f"c{i}", **samples} for i in range(3)],
        instances=[found("c0", 1, 1, 0.8), found("c1", 0, 0, 0.0), found("c2", 1, 1, 0.6)],
    )
    commit_final(ledger, "0" * 16, "base", [(2, 1, 1)] * 3, instances=[found("c0", 0, 0, 0.0)])
    base, net = catalog(ledger)["leaderboard"].to_pylist()
    assert net["ged"] == pytest.approx(2 * 0.5 - 0.25 - 0)
    assert net["hm_iou"] == pytest.approx(0.5)
    assert net["pq"] == pytest.approx(0.7)  # the case with nothing to find is left out
    assert net["aji"] == pytest.approx(0.7)
    expected = mean_with_interval([(0, 0, 0.8), (0, 1, 0.6)])
    found_ends = [net["pq"], net["pq_low"], net["pq_high"]]
    assert found_ends == pytest.approx(np.clip(expected, 0, 1).tolist())
    for name in ("ged", "hm_iou", "pq", "aji"):
        assert base[name] is base[f"{name}_low"] is base[f"{name}_high"] is None


def test_classes_weigh_the_same(ledger: Ledger) -> None:
    """Four cases of one class at Dice ½, one of another at 1, one of a third with none to find."""
    commit_final(
        ledger,
        "1" * 16,
        "net",
        [(1, 1, 1)] * 4,
        cases=[{**counted("c0", 1, 0, 0), "class": "y"}],
        instances=[
            {**found("c0", 1, 1, 0.6), "class": "x"},
            {**found("c0", 0, 0, 0.0), "class": "y"},
        ],
    )
    (row,) = catalog(ledger)["leaderboard"].to_pylist()
    assert row["dice"] == pytest.approx(0.75)
    assert row["pq"] == pytest.approx(0.6)


def test_an_attempt_with_a_damaged_part_is_no_seed(ledger: Ledger) -> None:
    for seed, digest in enumerate(("1" * 16, "2" * 16)):
        commit_final(ledger, digest, "net", [(1, 1, 1)] * 2, seed)
    (part,) = (k for k in ledger.store.list(f"trials/{'2' * 16}/") if "calibration" in k)
    ledger.store.put(part, b"not what was written")
    assert [r["seeds"] for r in catalog(ledger)["leaderboard"].to_pylist()] == [1]


def test_other_splits_do_not_count(ledger: Ledger) -> None:
    commit_final(
        ledger,
        "1" * 16,
        "net",
        [(1, 1, 1)] * 2,
        cases=[{**counted("v0", 1, 0, 0), "split": "val"}],
        calibration=[{**BIN, "case": "v0", "reading": "sample", "split": "val"}],
    )
    (row,) = catalog(ledger)["readings"].to_pylist()
    assert (row["dice"], row["ece"]) == (pytest.approx(0.5), pytest.approx(0.2))
    assert row["images"] == 2


def test_pooled_intervals_are_of_the_resampled_pools(ledger: Ledger) -> None:
    """The ends are those of ECE over pools of cases, drawn by hand with the same weights."""
    true = {"c0": 0.0, "c1": 3.0, "c2": 9.5, "c3": 20.0}
    extra: list[dict[str, Any]] = [
        {**BIN, "case": case, "reading": "sample", "count": 20, "y_sum": y}
        for case, y in true.items()
    ]
    for seed, digest in enumerate(("1" * 16, "2" * 16)):
        commit_final(ledger, digest, "net", [(1, 1, 1)] * 4, seed, calibration=extra)
    held_out = HeldOut(catalog(ledger), load_metrics(["ece"]))
    (cell,) = held_out.cells
    row = held_out.measure(cell)
    cases = [*true, *true]
    times = bootstrap.weights(["1"] * 4 + ["2"] * 4, cases)
    gap = 2 * times.sum(1) + abs(times @ np.array([true[case] - 1.0 for case in cases]))
    low, high = bootstrap.interval(ratio(gap, 30 * times.sum(1)))
    assert row["ece"].value == pytest.approx((4 * 2 + 28.5) / (4 * 30))
    assert row["ece"].ends == pytest.approx((float(low), float(high)))
    assert row["ece"].method == "percentile"
    assert low < high


def test_the_report_shows_readings_where_there_are_others(
    read: Catalog, ledger: Ledger, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    write_report(read, page)
    text = page.read_text(encoding="utf-8")
    table = text[text.index('<h2 id="readings">') :]
    table = table[: table.index("</table>")]
    assert "shuffled image" in table
    assert "base" not in table
    assert "0.833 [0.000, 1.000]" in table


def test_the_report_has_no_table_of_readings_where_there_is_only_the_sample(
    ledger: Ledger, tmp_path: Path
) -> None:
    commit_final(ledger, "1" * 16, "net", [(1, 1, 1)] * 2)
    page = tmp_path / "report.html"
    write_report(catalog(ledger), page)
    text = page.read_text(encoding="utf-8")
    assert '<h2 id="readings">' not in text
    assert '<h2 id="leaderboard">' in text


def test_a_sweep_ends_with_few_columns(read: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    leaderboard(read, every=True)
    heading, *rows = [line for line in capsys.readouterr().out.splitlines() if line]
    for word in ("Dice [95 %]", "IoU [95 %]", "ECE [95 %]", "Brier", "passes", "memory"):
        assert word in heading
    assert len(rows) == 2
    assert len(heading) <= 150

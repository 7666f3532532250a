"""Views have the numbers of plain loops over resamples, strata and cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.fingerprint.density import quantile
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics.levels import CONFIDENCE
from orchestrator.views.catalog import Catalog
from tests.intervals import mean_with_interval
from tests.unit.test_tables import commit_final
from trainables.schemas import BINS

DIGESTS = {"a": ["a0" * 8, "a1" * 8, "a2" * 8], "b": ["b0" * 8, "b1" * 8, "b2" * 8]}
CASES = ["c0", "c1", "c2", "c3", "c4"]


def counts(arm: str, seed: int) -> list[tuple[int, int, int]]:
    """Dice in eighths."""
    draws = np.random.default_rng([ord(arm), seed])
    return [(4 - k, k, k) for k in draws.integers(0, 4, len(CASES)).tolist()]


def bins(arm: str, seed: int) -> list[dict[str, Any]]:
    draws = np.random.default_rng([ord(arm), seed, 1])
    return [
        {
            "reading": "sample",
            "case": case,
            "bin": int(draws.integers(0, BINS)),
            "count": 8,
            "p_sum": int(draws.integers(0, 64)) / 8,
            "y_sum": float(draws.integers(0, 8)),
            "square_sum": 0.5,
            "nll_sum": 0.25,
        }
        for case in CASES
        for _ in range(6)
    ]


@pytest.fixture
def tables(ledger: Ledger) -> Catalog:
    """Two arms of three seeds; the last seed of one was not tested on the last case."""
    for arm, digests in DIGESTS.items():
        for seed, digest in enumerate(digests):
            seen = counts(arm, seed)[: 4 if digest == "b2" * 8 else 5]
            commit_final(ledger, digest, arm, seen, seed, calibration=bins(arm, seed))
    return catalog(ledger)


def resamples(runs: list[str], cases: list[str]) -> list[tuple[dict[str, int], dict[str, int]]]:
    """How often each case and each run is drawn, in each of 1,000 resamples."""
    draws, found = np.random.default_rng(0), []
    for names in (sorted(set(cases)), sorted(set(runs))):
        drawn = draws.multinomial(len(names), np.full(len(names), 1 / len(names)), 1000)
        found.append([dict(zip(names, map(int, row), strict=True)) for row in drawn])
    return list(zip(*found, strict=True))


def ends(values: list[float]) -> list[float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    return [float(v) for v in np.nanpercentile(values, [tail, 100 - tail])]


def with_ends(rows: dict[tuple[str, str], Any], of: Callable[[Any], float]) -> list[float]:
    """The mean over runs of a number of their cases, and the ends of its bootstrap interval."""
    drawn = resamples([run for run, _ in rows], [case for _, case in rows])

    def mean(by_case: dict[str, int], by_run: dict[str, int]) -> float:
        values = [
            times * of([(by_case[case], row) for (name, case), row in rows.items() if name == run])
            for run, times in by_run.items()
            if times
        ]
        return sum(values) / sum(by_run.values())

    every = [dict.fromkeys(names, 1) for names in zip(*rows, strict=True)]
    return [mean(every[1], every[0]), *ends([mean(*of_draw) for of_draw in drawn])]


def ece(rows: list[tuple[int, list[dict[str, Any]]]]) -> float:
    gaps, pixels = dict[int, float](), 0
    for times, found in rows:
        for row in found:
            at = row["bin"] * 15 // BINS
            gaps[at] = gaps.get(at, 0.0) + times * (row["p_sum"] - row["y_sum"])
            pixels += times * row["count"]
    return sum(map(abs, gaps.values())) / pixels if pixels else math.nan


def of_metric(row: dict[str, Any], metric: str) -> list[float]:
    return [row[f"{metric}{end}"] for end in ("", "_low", "_high")]


def dice(arm: str, names: list[str]) -> dict[tuple[str, str], float]:
    return {
        (name, case): 2 * tp / (2 * tp + fp + fn)
        for seed, name in enumerate(names)
        for case, (tp, fp, fn) in zip(CASES, counts(arm, seed), strict=True)
    }


def small_sample_ends(rows: dict[tuple[str, str], float]) -> list[float]:
    return mean_with_interval([(run, case, value) for (run, case), value in rows.items()])


def test_the_leaderboard_is_that_of_a_loop_over_resamples(tables: Catalog) -> None:
    row = {r["arm"]: r for r in tables["leaderboard"].to_pylist()}["a"]
    within = np.clip(small_sample_ends(dice("a", DIGESTS["a"])), 0, 1)  # no Dice is outside
    assert of_metric(row, "dice") == pytest.approx(within.tolist())
    assert (row["dice_method"], row["ece_method"]) == ("bootstrap-t", "percentile")
    full = {"bin": BINS - 1, "count": 10, "p_sum": 10.0, "y_sum": 8.0}  # commit_final's own
    binned = {
        (digest, case): [full, *(b for b in bins("a", seed) if b["case"] == case)]
        for seed, digest in enumerate(DIGESTS["a"])
        for case in CASES
    }
    assert of_metric(row, "ece") == pytest.approx(with_ends(binned, ece), rel=1e-12)


def test_the_ablation_is_that_of_a_loop_over_resamples_of_what_both_arms_have(
    tables: Catalog,
) -> None:
    (row,) = [r for r in tables["ablation"].to_pylist() if r["metric"] == "dice"]
    one, other = (dice(arm, ["0", "1", "2"]) for arm in (row["cell"][-1], row["against"][-1]))
    both = {key: one[key] - other[key] for key in one if key != ("2", "c4")}
    assert of_metric(row, "difference") == pytest.approx(small_sample_ends(both))
    assert row["difference_method"] == "bootstrap-t"
    assert (row["seeds"], row["images"]) == (3, 5)


def test_fingerprints_are_those_of_a_loop_over_strata(ledger: Ledger) -> None:
    """The first stratum lacks a case, the second one run's last case."""
    draws = np.random.default_rng(5)
    errors: dict[tuple[int, str, str, str], int] = {
        (stratum, digest, case, control): int(draws.integers(1, 99))
        for stratum in range(4)
        for digest in DIGESTS["a"]
        for case in CASES
        for control in ("image", "dropped")
        if (stratum, case) != (0, "c1") and (stratum, digest, case) != (1, "a2" * 8, "c4")
    }
    for seed, digest in enumerate(DIGESTS["a"]):
        probes = [
            {
                **{"case": case, "axis": "log_snr", "bin": stratum, "control": control},
                **{"low": float(stratum), "high": stratum + 1.0, "pixels": 8, "draws": 2},
                **{"t_sum": 1.0, "log_snr_sum": 2.0 * stratum, "eps_error_sum": float(error)},
                **{"eps_gap_sum": 8.0, "tp": 1, "fp": 0, "fn": 0},
            }
            for (stratum, run, case, control), error in errors.items()
            if run == digest
        ]
        commit_probes(ledger, digest, seed, probes)
    rows = [r for r in catalog(ledger)["fingerprints"].to_pylist() if r["curve"] == "eps_error"]
    assert [r["bin"] for r in rows] == [0, 1, 2, 3]
    for row in rows:
        mine = {
            (run, case): error / 16
            for (stratum, run, case, control), error in errors.items()
            if (stratum, control) == (row["bin"], "image")
        }
        value, low, high = small_sample_ends(mine)
        ends = [value, max(0.0, low), high]  # an error is not negative
        assert [row["value"], row["low"], row["high"]] == pytest.approx(ends)
        assert (row["at"], row["seeds"], row["images"]) == (row["bin"], 3, len(mine) // 3)


def commit_probes(ledger: Ledger, digest: str, seed: int, probes: list[dict[str, Any]]) -> None:
    commit_final(ledger, "f" * 16, "base", [(1, 1, 1)])  # declares the study; it has no probes
    about = {"outcome": "finished", "task": "t", "schedule": "linear", "seed": seed}
    key = {"arm": "a", "config": {}, "values": {}}
    ledger.studies.declare(Declared("study", "r1", "task_a", "final", seed, digest), key)
    ledger.commit(digest, "finished", {"trials": [about], "probes": probes})


def test_half_of_the_information_lies_where_interpolation_finds_it() -> None:
    draws = np.random.default_rng(2)
    areas = draws.exponential(size=(50, 6)) * (draws.random((50, 6)) < 0.7)
    edges = np.array([-9.0, -4.0, -2.0, 0.0, 1.0, 5.0, 9.0])
    for row, found in zip(areas, quantile(areas, edges), strict=True):
        cumulative = np.concatenate([[0.0], np.cumsum(row)])
        assert found == np.interp(cumulative[-1] / 2, cumulative, edges)
    assert np.isnan(quantile(np.zeros(6), edges))


@pytest.mark.parametrize("metric", ["dice", "ece", "mce"])
def test_arms_of_equal_results_have_equal_intervals(ledger: Ledger, metric: str) -> None:
    """Whatever the order of their digests, which is that of the seeds for one of them only."""
    for arm, digests in (("a", "123"), ("b", "987")):
        for seed, digest in enumerate(digests):
            of_a = counts("a", seed), bins("a", seed)
            commit_final(ledger, digest * 16, arm, of_a[0], seed, calibration=of_a[1])
    one, other = catalog(ledger)["leaderboard"].to_pylist()
    assert one["arm"] != other["arm"]
    assert of_metric(one, metric) == of_metric(other, metric)
    assert one[f"{metric}_low"] < one[f"{metric}_high"]

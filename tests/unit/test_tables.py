"""Views, SQL and intervals, on ledgers whose answers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.statistics import bootstrap
from orchestrator.views.catalog import Catalog
from orchestrator.views.sql_sandbox import QueryError
from trainables.schemas import BINS

CONFIG = {"mode": {"diffusion": {"schedule": {"linear": {}}, "t_low": 0.0, "t_high": 1.0}}}


def commit_final(
    ledger: Ledger,
    digest: str,
    arm: str,
    counts: list[tuple[int, int, int]],
    seed: int = 0,
    **more: list[dict[str, Any]],
) -> None:
    """A finished final trial with these (tp, fp, fn) per test case, and ``more`` rows by table."""
    about = {"arm": arm, "config": CONFIG, "values": {}}
    ledger.studies.describe("study", {"revision": "r1"})
    ledger.studies.declare(Declared("study", "r1", f"task_{arm}", "final", seed, digest), about)
    trial = {
        "outcome": "finished",
        "task": "task",
        "model": "intensity" if arm == "base" else "ensemdiff",
        "mode": "diffusion",
        "schedule": "linear",
        "seed": seed,
        "config": json.dumps(CONFIG),
        **dict.fromkeys(("code", "packages", "device", "data_hash"), "known"),
        "passes_per_image": 3,
        "world_size": 1,
        "train_seconds": 10.0,
        "device_seconds": 12.0,
        "test_seconds": 2.0,
        "test_images": len(counts),
        "parameters": 100,
        "macs_per_pass": 5,
        "peak_host_bytes": 7,
        "probe_passes": 9,
    }
    key = {"split": "test", "group": "g", "class": "x"}
    read = {**key, "reading": "sample"}
    cases = [
        {**read, "case": f"c{i}", "tp": tp, "fp": fp, "fn": fn, "tn": 0}
        for i, (tp, fp, fn) in enumerate(counts)
    ]
    calibration = [
        {
            **read,
            "case": f"c{i}",
            "bin": BINS - 1,
            "count": 10,
            "p_sum": 10.0,
            "y_sum": 8.0,
            "square_sum": 2.0,
            "nll_sum": 1.0,
        }
        for i in range(len(counts))
    ]
    edges = np.linspace(-4, 4, 5)
    probes = [
        {
            "case": f"c{i}",
            "group": "g",
            "axis": axis,
            "bin": b,
            "low": edges[b],
            "high": edges[b + 1],
            "control": control,
            "pixels": 10,
            "draws": 2,
            "t_sum": 1.0,
            "log_snr_sum": edges[b] + edges[b + 1],
            "x0_error_sum": 1.0,
            "x0_error_square_sum": 1.0,
            "eps_error_sum": error,
            "x0_gap_sum": 1.0,
            "eps_gap_sum": 8.0,
            "tp": 1,
            "fp": 0,
            "fn": 0,
            "tn": 9,
        }
        for i in range(len(counts))
        for axis in ("log_snr", "t")
        for b in range(4)
        for control, error in (("image", 4.0), ("dropped", 12.0))
    ]
    tables: dict[str, Any] = {"trials": [trial], "cases": cases, "calibration": calibration}
    tables["probes"] = [] if arm == "base" else probes
    for name, rows in more.items():
        tables[name] = [*tables.get(name, []), *({**key, **row} for row in rows)]
    ledger.commit(digest, "finished", tables)


@pytest.fixture
def tables(ledger: Ledger) -> Catalog:
    commit_final(ledger, "0" * 16, "base", [(1, 1, 1)] * 4)
    commit_final(ledger, "1" * 16, "net", [(4, 0, 0), (3, 1, 1), (2, 1, 1), (1, 0, 2)])
    return catalog(ledger)


def test_leaderboard_has_the_mean_over_cases_and_the_pooled_calibration(tables: Catalog) -> None:
    net, base = tables["leaderboard"].to_pylist()
    assert (net["arm"], base["arm"]) == ("net", "base")
    assert net["dice"] == pytest.approx((1 + 6 / 8 + 4 / 6 + 2 / 4) / 4)
    assert net["iou"] == pytest.approx((1 + 3 / 5 + 2 / 4 + 1 / 3) / 4)
    assert net["ece"] == net["ace"] == net["mce"] == pytest.approx(0.2)
    assert (net["brier"], net["nll"]) == (pytest.approx(0.2), pytest.approx(0.1))
    assert net["dice_low"] < net["dice"] < net["dice_high"]
    assert base["dice_low"] == base["dice"] == base["dice_high"] == pytest.approx(0.5)
    assert net["seconds_per_image"] == pytest.approx(0.5)
    assert net["seeds"] == 1
    assert (net["peak_host_bytes"], net["peak_device_bytes"], net["probe_passes"]) == (7, None, 9)


def test_fingerprint_is_half_the_error_difference_in_bits_per_pixel(tables: Catalog) -> None:
    rows = tables["fingerprints"].to_pylist()
    mine = [r for r in rows if r["axis"] == "log_snr"]
    values = {r["curve"]: r["value"] for r in mine if r["bin"] == 0}
    assert values["eps_error"] == pytest.approx(4 / 20)
    assert values["information"] == pytest.approx((12 - 4) / 20 / 2 / math.log(2))
    assert values["information_orthogonal"] == pytest.approx(8 / 20 / 2 / math.log(2))
    (summary,) = tables["information"].to_pylist()
    assert summary["information"] == pytest.approx(8 * 0.2 / math.log(2))
    assert summary["half"] == pytest.approx(0.0)
    assert summary["information_low"] == pytest.approx(summary["information_high"])


def test_seeds_are_counted_together(ledger: Ledger) -> None:
    commit_final(ledger, "1" * 16, "net", [(1, 0, 0)] * 2, seed=0)
    commit_final(ledger, "2" * 16, "net", [(1, 1, 1)] * 2, seed=1)
    (row,) = catalog(ledger)["leaderboard"].to_pylist()
    assert row["seeds"] == 2
    assert row["dice"] == pytest.approx(0.75)
    # Student's t of two seeds, 0.5 and 1, is 12.7 standard errors of 0.25 wide: beyond both limits.
    assert (row["dice_low"], row["dice_high"]) == (0.0, 1.0)


def test_sql_reads_every_view(tables: Catalog) -> None:
    for name in tables.names():
        assert tables.sql(f"SELECT count(*) AS n FROM {name}").num_rows == 1
    found = tables.sql("SELECT arm, round(dice, 3) AS d FROM leaderboard ORDER BY d DESC")
    assert found["arm"].to_pylist() == ["net", "base"]


def test_an_empty_store_has_every_view_with_its_columns(ledger: Ledger) -> None:
    empty = catalog(ledger)
    for name in empty.names():
        assert empty[name].num_rows == 0
        assert empty[name].num_columns > 3
    assert empty.sql("SELECT dice FROM leaderboard").num_rows == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/segprint-leak.csv'",
        "ATTACH '/tmp/segprint-leak.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CREATE TABLE x AS SELECT 1",
        "SELECT 1; SELECT 2",
        "EXPORT DATABASE '/tmp/segprint-leak'",
        "SELECT * FROM tables",
        "",
        "SELEC 1",
    ],
)
def test_sql_cannot_leave_the_views(tables: Catalog, sql: str) -> None:
    with pytest.raises(QueryError, match="query: "):
        tables.sql(sql)
    assert not list(Path("/tmp").glob("segprint-leak*"))


def test_an_endless_query_is_stopped(tables: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.views.sql_sandbox.QUERY_SECONDS", 0.2)
    with pytest.raises(QueryError, match="stopped after"):
        tables.sql("SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range % 7 = 3")


def test_an_unknown_view_is_named_with_the_choices(tables: Catalog) -> None:
    with pytest.raises(QueryError, match=r"leaderbord.*views: trials, steps"):
        tables.sql("SELECT * FROM leaderbord")


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draws, covered = np.random.default_rng(0), 0
    for i in range(200):
        values = draws.normal(0.0, 1.0, 40)
        counted = bootstrap.weights(["run"] * 40, list(map(str, range(40))), 400, i)
        low, high = bootstrap.interval(counted @ values / counted.sum(1))
        covered += int(low <= 0 <= high)
    assert 0.89 <= covered / 200 <= 0.98  # 95 % within Monte-Carlo error, a little low at n = 40


def test_bootstrap_draws_the_cases_once_for_all_runs() -> None:
    counted = bootstrap.weights(["a", "a", "b", "b"], ["x", "y", "x", "y"])
    assert (counted.sum(1) == 4).all()
    first, second = counted[:, :2], counted[:, 2:]
    both = (first.sum(1) > 0) & (second.sum(1) > 0)
    np.testing.assert_array_equal(first[both], second[both])
    np.testing.assert_array_equal(counted[:, :2].sum(1) + counted[:, 2:].sum(1), 4)


def test_results_of_an_older_revision_are_kept_apart(ledger: Ledger) -> None:
    commit_final(ledger, "1" * 16, "net", [(1, 0, 0)] * 2)
    ledger.studies.describe("study", {"revision": "r2"})
    assert catalog(ledger)["leaderboard"].num_rows == 0
    assert catalog(ledger)["trials"].num_rows == 1
    ledger.studies.describe("study", {"revision": "r1"})
    assert catalog(ledger)["leaderboard"].num_rows == 1

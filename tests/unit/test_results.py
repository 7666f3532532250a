"""What people do with results: list, ask, compare, note, export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from scipy import stats

from orchestrator.analyses import catalog, open_store
from orchestrator.heldout import paired
from orchestrator.heldout.final_cells import final_cells
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.tables import compaction
from orchestrator.views.export import export_tables
from orchestrator.views.sql_sandbox import QueryError
from tests.conftest import Segprint
from tests.unit.test_tables import CONFIG, commit_final

A, B = "a" * 16, "b" * 16
GOOD = [(4, 0, 0), (3, 1, 1), (2, 1, 1), (1, 0, 2), (5, 1, 0)]
BAD = [(3, 1, 0), (3, 2, 1), (2, 1, 2), (1, 1, 2), (4, 1, 3)]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def filled(store: str) -> Ledger:
    ledger = Ledger(Store(store))
    for seed, (good, bad) in enumerate([("a0", "b0"), ("a1", "b1")]):
        commit_final(ledger, good * 8, "good", GOOD[seed:], seed)
        commit_final(ledger, bad * 8, "bad", BAD, seed)
    return ledger


def dice(counts: list[tuple[int, int, int]]) -> np.ndarray[Any, Any]:
    return np.array([2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counts])


def test_arms_are_compared_on_what_both_were_tested_on_seed_by_seed(filled: Ledger) -> None:
    """Seed 1 of the good arm lacks a case, and its cases are the others' shifted by one."""
    (row,) = catalog(filled).sql("SELECT * FROM ablation WHERE metric = 'dice'").to_pylist()
    good = np.concatenate([dice(GOOD), dice(GOOD[1:])])
    bad = np.concatenate([dice(BAD), dice(BAD[:4])])
    swapped = row["cell"] == "task_bad"
    sign = -1 if swapped else 1
    assert row["difference"] == pytest.approx(sign * (good - bad).mean())
    values = sorted([row["value"], row["value_against"]])
    assert values == pytest.approx(sorted([good.mean(), bad.mean()]))
    assert (row["seeds"], row["images"]) == (2, 5)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    by_case = pd.Series(good - bad, [*range(5), *range(4)]).groupby(level=0).mean()
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(by_case).pvalue)


def test_pairing_is_sharper_than_two_intervals_where_cases_differ_more_than_arms(
    store: str,
) -> None:
    ledger = Ledger(Store(store))
    spread = [(10 * i + 5, 1, 40) for i in range(12)]
    commit_final(ledger, A, "one", spread)
    commit_final(ledger, B, "other", [(tp, fp, fn + 2) for tp, fp, fn in spread])
    tables = catalog(ledger)
    one, other = tables.sql("SELECT * FROM leaderboard ORDER BY arm").to_pylist()
    assert one["dice_low"] < other["dice_high"], "the arms' own intervals overlap"
    (row,) = tables.sql("SELECT * FROM ablation WHERE metric = 'dice'").to_pylist()
    assert row["difference_low"] > 0 or row["difference_high"] < 0
    assert row["wilcoxon_p"] < 0.01


def test_an_arm_compared_with_itself_differs_by_nothing(filled: Ledger, inline: Segprint) -> None:
    url = filled.store.url
    said = inline("--store", url, "compare", "study/good", "study/good", "--json")
    assert "study/task_good and study/task_good share 2 trials" in said.stderr
    assert said.returncode == 0
    for row in json.loads(said.stdout):
        assert row["difference"] == row["difference_low"] == row["difference_high"] == 0
        assert row["value"] == row["value_against"]
        assert row["value"] > 0 or row["metric"] != "dice"


@pytest.mark.parametrize("words", [("study/good", "study/bad"), ("a0" * 8, "b1" * 8)])
def test_compare_takes_arms_and_digests(
    filled: Ledger, inline: Segprint, words: tuple[str, str]
) -> None:
    said = inline("--store", filled.store.url, "compare", *words, "--json")
    rows = {row["metric"]: row for row in json.loads(said.stdout)}
    assert rows["dice"]["difference"] > 0
    assert rows["dice"]["images"] == 5


def test_compare_names_the_choices(filled: Ledger, inline: Segprint) -> None:
    said = inline("--store", filled.store.url, "compare", "study/god", "study/bad")
    assert said.returncode == 2
    assert "'study/god'" in said.stderr
    assert "study/good" in said.stderr


def test_trials_are_listed_by_any_condition(filled: Ledger, inline: Segprint) -> None:
    said = inline("--store", filled.store.url, "trials", "--where", "dice > 0.75", "--json")
    rows = json.loads(said.stdout)
    assert [r["digest"] for r in rows] == ["a0" * 8]
    assert rows[0]["dice"] == pytest.approx(dice(GOOD).mean())
    bad = inline("--store", filled.store.url, "trials", "--where", "dise > 0.75")
    assert bad.returncode == 2
    assert "--where 'dise > 0.75'" in bad.stderr


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "md"])
def test_query_writes_what_other_programs_read(
    filled: Ledger, inline: Segprint, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / f"out.{kind}"
    sql = "SELECT arm, sum(tp) AS tp FROM cases JOIN studies USING (digest) GROUP BY arm ORDER BY 1"
    assert inline("--store", filled.store.url, "query", sql, "-o", str(file)).returncode == 0
    expected = [{"arm": "bad", "tp": 26}, {"arm": "good", "tp": 26}]
    if kind == "json":
        assert json.loads(file.read_text()) == expected
    elif kind == "csv":
        assert pd.read_csv(file).to_dict("records") == expected
    elif kind == "parquet":
        assert pq.read_table(file).to_pylist() == expected
    else:
        assert file.read_text() == "| arm | tp |\n| --- | --- |\n| bad | 26 |\n| good | 26 |\n"


def test_an_output_without_a_known_format_is_refused(filled: Ledger, inline: Segprint) -> None:
    said = inline("--store", filled.store.url, "query", "SELECT 1", "-o", "x.xlsx")
    assert said.returncode == 2
    assert "x.xlsx: --format is needed" in said.stderr
    said = inline("--store", filled.store.url, "query", "SELECT 1", "--format", "parquet")
    assert "needs -o FILE" in said.stderr


def test_a_relation_becomes_pandas_polars_and_arrow_and_outlives_the_store(filled: Ledger) -> None:
    compaction.compact_committed(filled.store)
    relation = open_store(filled.store.url).relation("SELECT digest, tp FROM cases WHERE tp > 3")
    assert relation.df()["tp"].tolist() == relation.pl()["tp"].to_list()
    assert relation.filter("tp > 4").aggregate("count(*)").fetchall() == [(2,)]


def test_after_folding_sql_still_cannot_leave_the_views(filled: Ledger, tmp_path: Path) -> None:
    compaction.compact_committed(filled.store)
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    tables = catalog(filled)
    (ours,) = (Path(filled.store.url) / "tables" / "cases").glob("*.parquet")
    before = ours.read_bytes()
    for sql in (
        f"SELECT * FROM cases, read_csv('{outside}')",
        f"SELECT * FROM cases, '{filled.store.url}/tables/cases.json'",
        f"SELECT * FROM cases, glob('{filled.store.url}/*')",
        f"WITH t AS (COPY (SELECT 'cases') TO '{ours}' (USE_TMP_FILE false)) SELECT * FROM t",
    ):
        with pytest.raises(QueryError, match="query: "):
            tables.sql(sql)
    assert ours.read_bytes() == before


ODD = [None, "plain", "a/b=c", "100 % ünïcode 漢", "it's", 'say "x"', "..", "2016", "a+b c"]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_exported_tree_reads_back_in_pandas_and_polars(
    tmp_path: Path, store: str, compacted: bool
) -> None:
    ledger = Ledger(Store(store))
    for i, task in enumerate(ODD):
        trial = {"outcome": "finished", "task": task, "model": "m"}
        cases = [{"case": f"c{j}", "tp": i} for j in range(i + 1)]
        ledger.commit(f"{i:016x}", "finished", {"trials": [trial], "cases": cases})
    if compacted:
        compaction.compact_committed(ledger.store)
    tree = tmp_path / "tree"
    files, rows = export_tables(catalog(ledger), str(tree))
    assert files == len(list(tree.rglob("*.parquet")))
    assert rows >= len(ODD) + sum(range(1, len(ODD) + 1))
    expected = {task: i + 1 for i, task in enumerate(ODD)}
    with_pandas = pd.read_parquet(tree / "cases")
    tasks = with_pandas["task"].astype(object).where(with_pandas["task"].notna(), None)
    assert Counter(tasks) == expected
    with_polars = pl.read_parquet(tree / "cases" / "**" / "*.parquet", hive_partitioning=True)
    assert dict(with_polars.group_by("task").len().rows()) == expected
    with pytest.raises(ValueError, match="not empty; export into a new place"):
        export_tables(catalog(ledger), str(tree))


def test_a_retired_study_is_left_out_unless_it_is_named(filled: Ledger, inline: Segprint) -> None:
    url = filled.store.url
    said = inline("--store", url, "note", "study", "too few steps", "--tag", "old", "--retire")
    assert said.returncode == 0
    (row,) = json.loads(inline("--store", url, "ls", "studies", "--json").stdout)
    assert row.pop("rows_bytes") == sum(e.size for e in filled.store.entries("trials/"))
    assert row == {
        "name": "study",
        "trials": 4,
        "committed": 4,
        "weights_bytes": 0,
        "checkpoints_bytes": 0,
        "shared_bytes": 0,
        "tags": "old, retired",
        "note": "too few steps",
    }
    assert catalog(filled)["leaderboard"].num_rows == 0
    assert open_store(url, "study")["leaderboard"].num_rows == 2
    inline("--store", url, "note", "study", "--restore", "--untag", "old")
    assert catalog(filled)["leaderboard"].num_rows == 2
    assert filled.studies.note("study") == {"note": "too few steps", "tags": [], "retired": False}


def test_a_deleted_study_leaves_the_trials_that_another_shares(
    filled: Ledger, inline: Segprint
) -> None:
    about = {"arm": "good", "config": CONFIG, "values": {}}
    filled.studies.describe("other", {"revision": "r1"})
    filled.studies.declare(Declared("other", "r1", "task_good", "final", 0, "a0" * 8), about)
    said = inline("--store", filled.store.url, "note", "study", "--delete")
    assert "declarations of study deleted" in said.stdout
    board = open_store(filled.store.url)["leaderboard"].to_pylist()
    assert [(r["study"], r["seeds"]) for r in board] == [("other", 1)]
    assert catalog(filled)["trials"].num_rows == 4, "what was trained stays"


def test_a_note_on_an_unknown_study_names_the_choices(filled: Ledger, inline: Segprint) -> None:
    said = inline("--store", filled.store.url, "note", "stduy", "x")
    assert said.returncode == 2
    assert "stduy" in said.stderr
    assert "study" in said.stderr


def test_declarations_are_folded_and_a_later_one_is_still_seen(filled: Ledger) -> None:
    before = catalog(filled)["studies"].to_pylist()
    compaction.compact_committed(filled.store)
    kept = filled.store.list("tables/declared/")
    assert kept == ["tables/declared/study-r1.parquet"]
    commit_final(filled, "c" * 16, "late", BAD)
    after = catalog(filled)["studies"].to_pylist()
    assert [row for row in after if row["arm"] != "late"] == before
    assert len(after) == len(before) + 1


def test_tables_commands_tell_what_they_did(filled: Ledger, inline: Segprint) -> None:
    def tables(*words: str) -> Any:
        return inline("--store", filled.store.url, "tables", *words)

    assert "4 attempts compacted" in tables("compact").stdout
    (version,) = json.loads(tables("versions", "--json").stdout)
    assert (version["version"], version["attempts"]) == (1, 4)
    checked = tables("check")
    assert checked.returncode == 0
    assert "4 commits" in checked.stderr
    assert "0 damaged" in checked.stderr
    assert "0 objects would be deleted" in tables("gc", "--dry-run").stdout
    assert "4 attempts compacted again" in tables("rebuild").stdout
    commit_final(filled, "c" * 16, "late", BAD)
    sql = "SELECT count(*) AS n FROM trials"
    for flag, expected in (([], 5), (["--version", "1"], 4)):
        said = inline("--store", filled.store.url, "query", sql, "--json", *flag)
        assert json.loads(said.stdout) == [{"n": expected}]


def test_a_metric_that_one_side_cannot_tell_of_a_case_leaves_it_out_on_both(store: str) -> None:
    """Without instances, panoptic quality is nothing: that case says nothing about either."""
    ledger = Ledger(Store(store))
    counts = dict.fromkeys(("true_instances", "predicted_instances", "matched"), 2)
    area = {"aji_intersection": 1, "aji_union": 2}
    same = [{"case": f"c{i}", **counts, **area, "matched_iou_sum": 0.5 * i} for i in range(3)]
    empty = {**same[2], **dict.fromkeys((*counts, *area, "matched_iou_sum"), 0)}
    commit_final(ledger, A, "one", GOOD, instances=same)
    commit_final(ledger, B, "other", GOOD, instances=[*same[:2], empty])
    tables = catalog(ledger)
    (one, other) = final_cells(tables)
    held_out = HeldOut(tables, load_metrics(["pq"]), [one, other])
    (pair,) = paired.Pairs(held_out).differences(one, other)
    assert (pair.difference.value, *pair.difference.ends) == (0, 0, 0)
    assert pair.value == pair.value_against == pytest.approx(0.125)


def test_json_has_null_where_a_number_is_none(filled: Ledger, inline: Segprint) -> None:
    sql = "SELECT 'nan'::DOUBLE AS x, 1.5 AS y"
    said = inline("--store", filled.store.url, "query", sql, "--json")
    assert json.loads(said.stdout)[0]["x"] is None

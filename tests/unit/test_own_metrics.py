"""A metric in a user's file, by its path: objectives of a search, views and comparisons."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from orchestrator.analyses import catalog, open_store
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.objectives import Objectives
from orchestrator.storage.object_store import Store
from search_spaces import Search
from tests.cells import commit
from tests.conftest import SMALL, Segprint
from trainables.part import part_class
from trainables.trusted_files import UntrustedError, only_trusted

MISSED = """
from dataclasses import dataclass
from typing import ClassVar
from trainables.metrics import Metric, ratio

@dataclass(frozen=True)
class Missed(Metric):
    table: ClassVar = "cases"
    better: ClassVar = "lower"
    pooled: ClassVar = False

    def value(self, sums):
        return ratio(sums["fn"], sums["tp"] + sums["fn"])
"""


@pytest.fixture
def missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a metric of one's own, in the working directory."""
    monkeypatch.chdir(tmp_path)
    part_class.cache_clear()
    (tmp_path / "missed.py").write_text(MISSED)
    return "./missed.py"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two arms that miss 1 of 4 and 2 of 4 pixels of each of eight cases."""
    ledger = Ledger(Store(str(tmp_path / "results")))
    commit(ledger, "a" * 16, "good", [(3, 0, 1)] * 8)
    commit(ledger, "b" * 16, "bad", [(2, 0, 2)] * 8)
    return tmp_path / "results"


def test_the_leaderboard_has_its_columns(store: Path, missed: str) -> None:
    tables = open_store(str(store), metrics=[missed])
    rows = {row["arm"]: row for row in tables["leaderboard"].to_pylist()}
    assert rows["good"]["missed"] == pytest.approx(0.25)
    assert rows["bad"]["missed"] == pytest.approx(0.5)
    assert rows["bad"]["missed_low"] <= 0.5 <= rows["bad"]["missed_high"]
    assert "missed" not in open_store(str(store))["leaderboard"].column_names


def test_views_of_metrics_have_it_too_and_an_edit_of_the_file_is_seen(
    store: Path, missed: str
) -> None:
    def differences() -> dict[str, float]:
        rows = open_store(str(store), metrics=[missed])["ablation"].to_pylist()
        return {row["metric"]: row["difference"] for row in rows}

    assert abs(differences()["missed"]) == pytest.approx(0.25)
    (reading, *_) = open_store(str(store), metrics=[missed])["readings"].to_pylist()
    assert reading["missed"] is not None
    Path(missed).write_text(MISSED.replace('sums["fn"],', '2 * sums["fn"],'))
    part_class.cache_clear()
    assert abs(differences()["missed"]) == pytest.approx(0.5)


def test_tables_of_the_command_line_take_it(inline: Segprint, store: Path, missed: str) -> None:
    queried = inline("query", "SELECT arm, missed FROM leaderboard", "--metric", missed, "--json")
    assert queried.returncode == 0, queried.stderr
    assert {row["arm"]: row["missed"] for row in json.loads(queried.stdout)} == {
        "good": 0.25,
        "bad": 0.5,
    }
    done = inline("compare", "study/good", "study/bad", "--metric", missed, "--format", "csv")
    (row,) = (r for r in csv.DictReader(io.StringIO(done.stdout)) if r["metric"] == "missed")
    assert float(row["difference"]) == pytest.approx(-0.25)
    assert float(row["better"]) == 1.0  # less is better


def test_what_is_no_file_or_breaks_a_rule_is_one_line(
    inline: Segprint, store: Path, missed: str
) -> None:
    Path("dice.py").write_text(MISSED)
    Path("text.py").write_text(MISSED.replace("ratio(", "str("))
    for given, rule in (
        ("dice", "must be the path of a .py file"),
        ("./dice.py", "there is another metric dice"),
        ("./text.py", "text.py', line 13: TypeError"),
        ("./absent.py", "there is no such file"),
    ):
        done = inline("query", "SELECT 1", "--metric", given)
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert rule in line


def test_it_is_an_objective_of_a_search(ledger: Ledger, missed: str) -> None:
    search = Search(trials=2, objectives=(f"-{missed}", "dice"), limits={missed: 0.4})
    objectives = Objectives.of(search)
    assert objectives.names == [missed, "dice"]
    key = {"split": "val", "group": "g", "class": "x", "reading": "sample"}
    for digest, fn in (("a" * 16, 1), ("b" * 16, 2)):
        row = {**key, "case": "v", "tp": 4 - fn, "fp": 0, "fn": fn, "tn": 0}
        commit(ledger, digest, "arm", [], more={"cases": [row]}, score=0.9, seed=fn)
    found = objectives.standings(ledger, ["a" * 16, "b" * 16])
    assert found["a" * 16].values == pytest.approx((-0.25, 0.9))
    assert found["b" * 16].values == pytest.approx((-0.5, 0.9))
    assert [found[d * 16].within for d in "ab"] == [True, False]


def test_a_sign_against_its_direction_is_refused(missed: str) -> None:
    with pytest.raises(ValueError, match=r"write '-\./missed\.py'"):
        Objectives.of(Search(trials=2, objectives=(missed,)))


def test_a_plan_names_it(inline: Segprint, tmp_path: Path, missed: str) -> None:
    space = f"""
from search_spaces import Choice, Search, Space
SPACE = Space(
    "?", {SMALL!r}, {{"a": {{"train.batch": Choice([2, 4])}}}}, gpus=0,
    search=Search(trials=2, objectives=("-./missed.py",)),
)
"""
    (tmp_path / "study.py").write_text(space)
    done = inline("plan", "./study.py", "--json")
    assert done.returncode == 0, done.stderr
    (tmp_path / "study.py").write_text(space.replace("missed", "mist"))
    refused = inline("plan", "./study.py", "--json")
    assert refused.returncode == 2
    assert "metric './mist.py': there is no such file" in refused.stderr


def test_text_from_a_store_cannot_name_it(missed: str) -> None:
    with only_trusted(), pytest.raises(UntrustedError, match=r"--trust \./missed\.py"):
        Objectives.of(Search(trials=2, objectives=(f"-{missed}",)))


def test_a_catalog_checks_it_first(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        catalog(ledger, metrics=("./nothing.py",))

"""Studies, results and trainings as Python objects: the same numbers as on the command line."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import orchestrator
from orchestrator import Study, open_store, train
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.views.sql_sandbox import QueryError
from search_spaces import Each, Space
from tests.conftest import ROOT, SMALL, Segprint
from tests.docs.training import trained

CONFIG: dict[str, Any] = {**SMALL, "mode": "feedforward"}
SPACE = Space(
    name="s",
    question="Is <script>alert(1)</script> \x1b[31m shown?",
    config={**CONFIG, "task": {"synthetic": {"size": 16, "cases": 4, "discs": Each(2, 3)}}},
)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "results")


@pytest.fixture
def study(url: str) -> Study:
    """A complete study."""
    trained("s", SPACE, Ledger(Store(url)))
    return Study(SPACE, url)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "pyarrow", "ray", "optuna", "duckdb", "tqdm", "IPython")
    code = f"import sys, orchestrator; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert orchestrator.__all__ == ["Study", "load", "open_store", "train"]
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        _ = orchestrator.studdy


def test_a_space_without_a_file_needs_a_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"^Space: name=None must be given[^\n]+$"):
        Study(replace(SPACE, name=None), url)
    with pytest.raises(ValueError, match=r"^unknown space 'quikstart'; did you mean 'quickstart'"):
        Study("quikstart", url)
    with pytest.raises(ValueError, match="steps=-1 must not be negative"):
        Study(replace(SPACE, config={**CONFIG, "train": {"steps": -1}}), url)
    assert not Path(url).exists()


def test_a_plan_is_that_of_the_command_line(url: str, inline: Segprint, tmp_path: Path) -> None:
    file = tmp_path / "s.py"
    file.write_text("from tests.unit.test_notebook import SPACE\n")
    expected = json.loads(inline("--store", url, "plan", str(file), "--json").stdout)
    plan = Study(SPACE, url).plan()
    assert plan.cells.to_dict("records") == expected["cells"]
    assert not plan.complete
    assert "2 trials, 0 done, 2 to run" in plan.lines[0]
    assert plan.lines[0] in repr(plan)
    assert "<td>2_default</td>" in plan._repr_html_()
    assert Path(url).exists() is False  # nothing was written


def test_a_complete_study_runs_nothing_and_has_the_rows_of_the_views(
    study: Study, url: str, inline: Segprint
) -> None:
    def results() -> list[str]:
        return [key for key in Store(url).list("") if not key.startswith("drivers/")]

    before = results()
    assert study.run().complete
    assert results() == before
    sql = "SELECT cell, dice, dice_low, seeds FROM leaderboard ORDER BY cell"
    expected = json.loads(inline("--store", url, "query", sql, "--json").stdout)
    columns = ["cell", "dice", "dice_low", "seeds"]
    board = study.leaderboard().sort_values("cell")[columns]
    assert board.to_dict("records") == expected
    assert study.query(sql).to_dict("records") == expected
    assert open_store(url).query(sql).to_dict("records") == expected
    trials = json.loads(inline("--store", url, "trials", "--json").stdout)
    listed = study.trials()
    assert list(listed["digest"]) == [row["digest"] for row in trials]
    assert len(study.trials("dice < 0")) == 0
    with pytest.raises(QueryError, match="nothing"):
        study.trials("nothing > 0")


def test_a_study_shows_only_its_own_rows(study: Study, url: str) -> None:
    other = replace(SPACE, name="other", config={**CONFIG, "train": {**SMALL["train"], "steps": 4}})
    trained("other", other, Ledger(Store(url)))
    assert set(study.leaderboard()["study"]) == {"s"}
    assert len(study.query("SELECT * FROM trials")) == 2
    assert set(open_store(url).leaderboard()["study"]) == {"s", "other"}
    assert len(open_store(url, "other").query("SELECT * FROM trials")) == 1


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_what_a_notebook_shows_cannot_act(study: Study, url: str) -> None:
    shown = study._repr_html_()
    elements = Elements(shown).found
    assert {tag for tag, _ in elements} == {"p", "br", "iframe"}
    assert "\x1b" not in shown
    (frame,) = (attributes for tag, attributes in elements if tag == "iframe")
    assert frame["sandbox"] is None  # present, and grants nothing
    inner = Elements(frame["srcdoc"] or "").found
    tags = [tag for tag, _ in inner]
    assert tags.count("svg") >= 2
    assert "table" in tags
    assert "script" not in tags
    assert not any(name.startswith("on") for _, attributes in inner for name in attributes)
    assert Elements(Study(replace(SPACE, name="new"), url)._repr_html_()).found[0] == ("p", {})
    assert "&lt;script&gt;" in shown
    assert html.escape("<svg", quote=False) in study.figures("leaderboard").html
    with pytest.raises(ValueError, match=r"unknown section 'leader'.*choices: claims"):
        study.figures("leader")


def test_a_training_has_the_metrics_and_the_model_of_the_same_trial(
    study: Study, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**CONFIG, "task": {"synthetic": {"size": 16, "cases": 4, "discs": 2}}}
    result = train(config)
    assert "validation Dice" in capsys.readouterr().err
    assert result.outcome == "finished"
    assert [*result.history["step"]] == [2, 4, 6]
    (row,) = study.query("SELECT * FROM leaderboard WHERE cell = '2_default'").to_dict("records")
    assert len(result.metrics) > 10
    for name, value in result.metrics.items():
        assert value == pytest.approx(row[name], nan_ok=True), name
    (score,) = study.query(f"SELECT score FROM trials WHERE digest = '{result.digest}'")["score"]
    assert result.score == score
    assert result.history["score"].max() <= 1
    assert f"{row['dice']:.4f}" in repr(result)
    assert "<th>dice</th>" in result._repr_html_()
    image = next(result.config.task.scan()).read().pixels
    (mine,) = result.model.predict([image])
    (theirs,) = orchestrator.load(result.digest, url).predict([image])
    assert np.array_equal(mine.probabilities, theirs.probabilities)
    assert isinstance(study.load("2_default"), torch.nn.Module)
    # With the store, what is committed is not trained again.
    before = Store(url).list("")
    again = train(config, url, progress=False)
    assert Store(url).list("") == before
    assert again.metrics == result.metrics
    assert np.array_equal(again.model.predict([image])[0].labels, mine.labels)


def test_a_training_with_a_store_is_committed(url: str) -> None:
    result = train(CONFIG, url, progress=False)
    assert result.outcome == "finished"
    assert list(open_store(url).trials()["digest"]) == [result.digest]
    assert result.model.classes == ["background", "disc"]


def test_a_training_that_diverges_says_so() -> None:
    train_fields = {**SMALL["train"], "learning_rate": 1e30, "clip": 1e30}
    result = train({**CONFIG, "train": train_fields}, progress=False)
    assert result.outcome == "diverged"
    assert "at step" in str(result.reason)
    assert result.metrics == {}
    assert "diverged" in result._repr_html_()
    with pytest.raises(ValueError, match=r"has no weights: diverged"):
        _ = result.model


def test_a_config_that_is_not_valid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown config.model 'ensemdif'; did you mean"):
        train({**CONFIG, "model": "ensemdif"})

"""The arguments of the command line: where they may stand, and what is said about a typo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.arguments import VERBS, parser
from orchestrator.cli import main
from orchestrator.ledger.ledger import Ledger
from orchestrator.provenance import code_version
from tests.unit.test_tables import commit_final


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_argument_of_every_verb_is_explained(verb: str) -> None:
    verbs: Any = next(a for a in parser()._actions if a.dest == "verb").choices  # pyright: ignore[reportPrivateUsage]
    for action in verbs[verb]._actions:
        assert len((action.help or "").split()) > 1, action.dest


@pytest.mark.parametrize(
    "words", [["--store", "mine", "ls", "studies"], ["ls", "studies", "--store", "mine"]]
)
def test_the_store_may_be_named_before_or_after_the_verb(words: list[str]) -> None:
    assert parser().parse_args(words).store == "mine"


def test_without_the_option_the_variable_names_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGPRINT_STORE", "elsewhere")
    assert parser().parse_args(["ls"]).store == "elsewhere"


def test_the_version_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"segprint {code_version().removeprefix('segprint ')}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["plam"], "'plan'"),
        (["tables", "compct"], "'compact'"),
        (["sweep", "quickstart", "--mirror", "mlfow"], "'mlflow'"),
        (["plan", "quickstart", "--jsn"], "'--json'"),
        (["--stoer=x", "plan", "quickstart"], "'--store'"),
    ],
)
def test_a_typo_names_the_nearest_choice(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert f"did you mean {hint}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT dicee FROM leaderboard", 'Candidate bindings: "dice"'),
        ("SELECT * FROM leaderbord", "did you mean 'leaderboard'?"),
    ],
)
def test_a_query_with_a_typo_names_the_nearest_column_or_view(
    sql: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", str(tmp_path), "query", sql]) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


def test_an_empty_store_is_said_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ls", "studies"]) == 0
    assert capsys.readouterr().out == f"no study in {tmp_path / 'results'}\n"
    assert main(["weights", "ls"]) == 0
    assert capsys.readouterr().out == "0 trainings, 0 B\n"
    assert main(["tables", "gc", "--keep-days", "0"]) == 0
    assert "stay for at least a day" in capsys.readouterr().out
    assert main(["tables", "gc"]) == 0
    assert capsys.readouterr().out == "0 objects deleted\n"
    assert main(["report"]) == 0
    assert "the store results has no study" in capsys.readouterr().out
    assert main(["query", "SELECT study, cell FROM studies"]) == 0
    assert "no rows; the columns are study, cell" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["page.pdf", "folder.html"])
def test_a_report_is_an_html_file(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    assert main(["--store", str(tmp_path), "report", "-o", str(tmp_path / name)]) == 2
    assert "a report is a file whose name ends in .html" in capsys.readouterr().err


def test_a_report_with_figures_prints_a_screen_and_names_the_tables(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for digest, arm, right in (("a" * 16, "net", 3), ("b" * 16, "twin", 2)):
        commit_final(ledger, digest, arm, [(right, 1, 1), (2, 0, 1)])
    page, figures = tmp_path / "r.html", tmp_path / "figures"
    words = ["report", "--store", ledger.store.url, "-o", str(page), "--figures", str(figures)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    written = list(figures.iterdir())
    assert {Path(line) for line in lines[:-1]} == {page, *figures.glob("table-*")}
    assert lines[-1].startswith(f"{figures}: {len(written)} files in all (")
    assert len(lines) < 10 < len(written)

"""The arguments of the command line: where they may stand, and what is said about a typo."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.arguments import VERBS, parser
from orchestrator.cli import main
from orchestrator.provenance import code_version


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_argument_of_every_verb_is_explained(verb: str) -> None:
    (choices,) = (a.choices for a in parser()._actions if a.dest == "verb")
    assert isinstance(choices, dict)
    for action in choices[verb]._actions:
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

"""An option that would have no effect is refused, and the message says where it belongs."""

from __future__ import annotations

import pytest

from orchestrator.arguments import parser

REFUSED = [
    ("tables rebuild --dry-run", "--dry-run has no effect here: it belongs to gc"),
    ("tables compact --dry-run", "--dry-run has no effect here: it belongs to gc"),
    ("tables check --keep-days 3", "--keep-days has no effect here: it belongs to gc"),
    ("tables gc --quarantine", "--quarantine has no effect here: it belongs to check"),
    ("tables check --force", "--force has no effect here: it belongs to rebuild"),
    ("weights export a/b --cell c", "--cell has no effect here: it belongs to import"),
    ("weights ls -o f", "--output has no effect here: it belongs to export or import"),
    ("data ls --set at=x", "--set has no effect here: it belongs to get or check or show"),
    ("data check -o f.png", "--output has no effect here: it belongs to show"),
    ("note s text --delete", "TEXT has no effect with --delete"),
    ("note s --delete --tag t", "--tag has no effect with --delete"),
    ("export -o f s --as t", "--as has no effect here: it belongs to --format optuna or --format"),
    ("export -o f s --format optuna --metric m.py", "--metric has no effect here: it belongs to"),
    ("export -o f s --format published --version 3", "--version has no effect here: it belongs to"),
    ("report s --port 80", "--port has no effect here: it belongs to --serve"),
    ("report s --serve -o page.html", "--output has no effect with --serve"),
    ("report s --serve --watch 9", "--watch has no effect with --serve"),
    ("evaluate s --on d -o f.py --again", "--again has no effect with --output"),
    ("probe s -o f.py --most 9", "--most has no effect with --output"),
]
TAKEN = [
    "tables gc --dry-run --keep-days 3",
    "tables check --quick --quarantine --restore",
    "tables rebuild --force --all",
    "weights import f --config s --cell c --set a=1 -o g",
    "data show nuclei --set size=16 -o f.png",
    "note s text --tag t --untag u --retire",
    "export -o f s --format published --as t",
    "export -o f s --metric m.py --version 3",
    "report s --serve --port 80",
    "report s --watch 9 -o page.html",
    "evaluate s --on d --most 9 --again",
]


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_an_option_without_an_effect_is_refused(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(line.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("line", TAKEN)
def test_an_option_where_it_belongs_is_taken(line: str) -> None:
    assert parser().parse_args(line.split()).verb == line.split(maxsplit=1)[0]

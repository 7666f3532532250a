"""Choices from a list, and steps of ranges: which are refused, and what reaches a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.cells import cells
from orchestrator.planning.validation import check
from search_spaces import Choice, Integer, LogUniform, Search, Uniform
from search_spaces._parameters import fits
from tests.conftest import SMALL, Segprint
from tests.unit.test_search_spaces import space


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice("ab"), "Choice: 'ab' must be a list of values, or a mapping"),
        (lambda: Choice(7), "Choice: 7 must be a list of values"),
        (lambda: Choice([1, True]), "Choice: 1 and True are equal; the values must differ"),
        (lambda: Choice([0.5, 1, 1.0]), "Choice: 1 and 1.0 are equal"),
        (lambda: Choice(["a", "b", "a"]), "Choice: 'a' and 'a' are equal"),
        (lambda: Choice([0.1, float("nan")]), "nan must be a finite int or float, text, True"),
        (lambda: Choice([[1, 2], [1, 4]]), r"Choice: \[1, 2\] must be a finite int or float"),
        (lambda: Choice([Uniform(0, 1), None]), r"Uniform\(low=0, high=1\) must be a finite int"),
        (lambda: Choice({1: {}, 2: {}}), "Choice: key 1 must be text"),
        (lambda: Uniform(0.1, 0.9, step=0), "Uniform: step=0 must be positive"),
        (lambda: Uniform(0.1, 0.85, step=0.1), "high=0.85 must be low=0.1 plus a whole .* 0.9"),
        (lambda: Uniform(0, 1e300, step=1e-9), "step=1e-09 must be at least 1e\\+294, a millionth"),
        (lambda: Uniform(0, 1, step="a"), "Uniform: step='a' must be a finite number or None"),
        (lambda: LogUniform(1, 8, step=1), "LogUniform: step=1 is not allowed on a logarithmic"),
        (lambda: Integer(1, 9, step=0.5), "Integer: step=0.5 must be a whole number"),
        (lambda: Integer(8, 64, step=9), "high=64 must be low=8 plus a whole .* of 9, such as 71"),
    ],
)
def test_a_domain_that_means_nothing_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_step_or_a_list_changes_only_its_own_repr() -> None:
    """A study's revision hashes the repr: spaces without steps and lists keep theirs."""
    assert repr(Uniform(-2.0, 1)) == "Uniform(low=-2.0, high=1)"
    assert repr(LogUniform(0.1, 2)) == "LogUniform(low=0.1, high=2)"
    assert repr(Integer(1, 3)) == "Integer(low=1, high=3)"
    assert repr(Choice(["a", "b"])) == "Choice(values={'a': {}, 'b': {}})"
    assert repr(Integer(1, 9, step=2)) == "Integer(low=1, high=9, step=2)"
    assert repr(Uniform(0, 1, step=0.25)) == "Uniform(low=0, high=1, step=0.25)"
    assert repr(Choice([1, None, "a"])) == "Choice(values=(1, None, 'a'))"


LISTED = {
    **SMALL,
    "task": {"nifti": {"at": "/nowhere", "window_low": Choice([None, -100.0])}},
    "train": {
        "steps": 6,
        "batch": Choice([2, 4]),
        "precision": Choice(["float32", "bfloat16"]),
        "compile": Choice([False, True]),
        "ema": Uniform(0.1, 0.9, step=0.1),
        "warmup": Integer(0, 6, step=3),
    },
}


def test_a_list_is_a_choice_of_values_of_any_field() -> None:
    """Each value reaches the config with its type, alone and with the others."""
    (cell,) = cells(space(config=LISTED, search=Search(trials=1)))
    seen = [cell.config(values, {}, seed=0) for values in cell.corners]
    assert {repr(c.train.batch) for c in seen} == {"2", "4"}
    assert {c.train.precision for c in seen} == {"float32", "bfloat16"}
    assert {repr(c.train.compile) for c in seen} == {"False", "True"}
    lows = [c.plain()["task"]["nifti"]["window_low"] for c in seen]
    assert set(map(repr, lows)) == {"None", "-100.0"}
    assert {c.train.warmup for c in seen} == {0, 6}
    assert {c.train.ema for c in seen} == {0.1, 0.9}


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("precision", ["float32", "flaot32"], "unknown config.train.precision 'flaot32'"),
        ("batch", [2, 2.5], "config.train.batch: 2.5 must be int"),
        ("batch", [2, "x"], "config.train.batch: 'x' must be int"),
        ("compile", [0, 2], "config.train.compile: 0 must be bool"),
    ],
)
def test_every_listed_value_must_suit_its_field(path: str, values: Any, message: str) -> None:
    config = {**SMALL, "train": {**SMALL["train"], path: Choice(values)}}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=message):
        check(space(config=config, search=Search(trials=1)))


def test_an_option_inside_another_choice_is_checked_before_anything_runs() -> None:
    """Else its suggestions would be refused without a message, and the option never trained."""
    inner = Choice({"linear": {}, "cosine": {"shift": "far"}})
    schedule = Choice({"linear": {}, "input_scaled": {"base": inner}})
    config = {**SMALL, "mode": {"diffusion": {"schedule": schedule}}}
    with pytest.raises(ValueError, match=r"input_scaled\.base\.cosine\.shift: 'far' must be float"):
        check(space(config=config, search=Search(trials=1)))


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Choice([1, 0.5, None, "1"]), [1, 0.5, None, "1"], [True, 1.0, "None", 0, [1]]),
        (Choice([True, "a"]), [True, "a"], [1, 1.0, "True", None]),
        (Integer(1, 7, step=3), [1, 4, 7], [2, 4.0, True, "4", None, 10, 10**400]),
        (Integer(0, 3), [0, 3], [False, 4, 1.0]),
        (Uniform(0.0, 0.3, step=0.1), [0.0, 0.1, 0.2, 0.3], [0.15, 0.4, True, "0.1", None]),
        (Uniform(0.1, 0.9, step=0.1), [0.1 + 2 * 0.1, 0.9], [0.35]),
        (Uniform(0, 1), [0.123, 1.0], [float("nan"), 10**400, "0.5", None]),
    ],
)
def test_a_stored_value_is_of_the_domain_only_with_its_type(
    parameter: Any, inside: list[Any], outside: list[Any]
) -> None:
    """Values come from the store, perhaps from a study whose space had other domains there."""
    assert [v for v in inside if not fits({"x": parameter}, {"x": v})] == []
    assert [v for v in outside if fits({"x": parameter}, {"x": v})] == []


def test_show_prints_lists_and_steps(inline: Segprint, tmp_path: Path) -> None:
    """A text of a mixed list has quotes: None and 'None' differ."""
    (tmp_path / "listed.py").write_text(
        "from search_spaces import *\n"
        f"SPACE = Space(question='?', config={LISTED!r}, search=Search(trials=1))\n"
    )
    shown = inline("show", "./listed.py", "--json")
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)["parameters"]
    assert {row["path"]: row["domain"] for row in rows} == {
        "task.nifti.window_low": "None | -100.0",
        "train.batch": "2 | 4",
        "train.precision": "float32 | bfloat16",
        "train.compile": "False | True",
        "train.ema": "0.1 to 0.9, step 0.1",
        "train.warmup": "0..6, step 3",
    }
    (tmp_path / "wrong.py").write_text(
        f"from search_spaces import *\nSPACE = Space('?', {SMALL!r}, arms={{'a': "
        "{'train.batch': Choice([2, 2.0])}})\n"
    )
    refused = inline("show", "./wrong.py")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Choice: 2 and 2.0 are equal; the values must differ" in refused.stderr

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import search_spaces
from orchestrator.planning.cells import cells
from orchestrator.planning.validation import check
from search_spaces import (
    Budget,
    Choice,
    Each,
    Integer,
    LogUniform,
    Search,
    Space,
    Uniform,
    put,
    walk,
)
from search_spaces._parameters import corners, fill
from tests.conftest import SMALL, Segprint

SEARCHED = {
    "diffusion": {
        "schedule": Choice({"linear": {}, "cosine": {"shift": Uniform(-2.0, 1.0)}}),
        "t_high": Uniform(0.8, 1.0),
    }
}


def space(**changes: object) -> Space:
    settings: dict[str, object] = {"question": "?", "config": SMALL, **changes}
    return Space(**settings)  # type: ignore[arg-type]


def test_parameters_are_named_by_their_path() -> None:
    assert [path for path, _ in walk({"mode": SEARCHED})] == [
        "mode.diffusion.schedule",
        "mode.diffusion.schedule.cosine.shift",
        "mode.diffusion.t_high",
    ]


def test_a_choice_brings_only_its_own_parameters() -> None:
    values = {"mode.diffusion.schedule": "linear", "mode.diffusion.t_high": 0.9}
    filled = fill({"mode": SEARCHED}, values)
    assert filled == {"mode": {"diffusion": {"schedule": "linear", "t_high": 0.9}}}


def test_corners_use_every_choice_and_both_ends() -> None:
    seen = list(corners({"mode": SEARCHED}))
    assert {v["mode.diffusion.schedule"] for v in seen} == {"linear", "cosine"}
    assert {v["mode.diffusion.t_high"] for v in seen} == {0.8, 1.0}


def test_grids_multiply_and_arms_share_them() -> None:
    made = cells(
        space(
            config={**SMALL, "task": Each("nuclei", "brain")},
            arms={"a": {"mode": "feedforward"}, "b": {"mode": {"diffusion": {}}}},
        )
    )
    assert [c.name for c in made] == ["nuclei_a", "nuclei_b", "brain_a", "brain_b"]


def test_an_impossible_corner_is_refused_with_its_cell() -> None:
    with pytest.raises(ValueError, match=r"cell b: .*t_high=1\.5 must satisfy"):
        check(
            space(
                arms={"b": {"mode": {"diffusion": {"t_high": Uniform(0.5, 1.5)}}}},
                search=Search(trials=1),
            )
        )


def test_searched_parameters_need_a_budget() -> None:
    with pytest.raises(ValueError, match="needs search=Search"):
        cells(space(arms={"b": {"mode": SEARCHED}}))


def _endless() -> dict[str, object]:
    """A config that holds itself."""
    config: dict[str, object] = {}
    config["again"] = config
    return config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1.0, 1.0), "low=1.0 must be below"),
        (lambda: LogUniform(0.0, 1.0), "must be positive"),
        (lambda: Integer(3, 2), "low=3 must be below"),
        (Each, "at least one value"),
        (lambda: Choice([]), "at least one value"),
        (lambda: Search(trials=0), "trials=0 must be at least 1"),
        (lambda: space(replicates=0), "replicates=0 must be at least 1"),
        (lambda: space(workers=0), "workers=0 must be at least 1"),
        (
            lambda: space(workers=(3, 2)),
            r"workers=\(3, 2\) must be at least 1, or \(fewest, most\)",
        ),
        (lambda: space(workers=1.5), r"workers=1.5 must be at least 1, or \(fewest, most\)"),
        (lambda: space(workers={"x": 2}), r"workers name the unknown arm 'x' \(choices: "),
        (lambda: space(search=Search(1, workers=0)), "Search: workers=0 must be at least 1"),
        (lambda: space(workers=2, gpus=0.5), "gpus=0.5 must be 0 or a whole number with several"),
        (lambda: space(search=Search(1, workers=2), gpus=0.25), "gpus=0.25 must be 0 or a whole"),
        (lambda: space(most=0), "most=0 must be at least 1"),
        (lambda: Search(1, pruner="median"), r"unknown pruner 'median' \(choices: halving"),
        (lambda: Search(1, objectives=()), "objectives must name at least one"),
        (lambda: Budget(trials=0), "trials=0 must be positive"),
        (lambda: Budget(money=5), "money needs rates"),
        (lambda: Budget(money=5, rates={"H100": -3.1}), r"rates\['H100'\]=-3.1 must be a price"),
        (lambda: Budget(money=5, rates={"cpu": 0.0}), "rates must have a price above 0"),
        (lambda: space(constraints="a < b"), "must be a tuple, each item text"),
        (lambda: space(constraints=("train.steps",)), "must compare values"),
        (lambda: space(constraints=("train.steps <",)), "must compare values"),
        (lambda: space(constraints=("open('x') == 1",)), r"\"open\('x'\)\" is not allowed"),
        (lambda: space(constraints=("train.steps ** 9 < 1",)), "Pow is not allowed"),
        (lambda: space(arms={"a b": {}}), "arm 'a b' must be a Python identifier"),
        (lambda: space(arms={"ä" * 101: {}}), "has 202 bytes, at most 200 are allowed"),
        (
            lambda: space(arms=["a"]),
            r"Space: arms=\['a'\] must be a mapping from text to a mapping",
        ),
        (
            lambda: space(arms={"a": {"train.steps": 20, "train": {"steps": 10}}}),
            "arm 'a' sets 'train.steps', and then 'train', which replaces it; write 'train' first",
        ),
        (
            lambda: Search(1, overrides={"task.synthetic.size": 8, "task": "synthetic"}),
            "Search: overrides sets 'task.synthetic.size', and then 'task', which replaces it",
        ),
        (lambda: Search(2, rungs=(0, 5)), r"rungs=\(0, 5\) must be increasing steps of at least"),
        (lambda: Search(2, rungs=(5, 5)), r"rungs=\(5, 5\) must be increasing steps of at least"),
        (lambda: Search(2, rungs=(8, 4)), r"rungs=\(8, 4\) must be increasing steps of at least"),
        (lambda: space(config=None), "config=None must be a mapping from text to any value"),
        (lambda: space(config={"train": {1: 2}}), r"Space: config\.train: key 1 must be text"),
        (lambda: space(config=_endless()), r"Space: config\.again must not hold itself"),
        (lambda: space(replicates=1.5), "replicates=1.5 must be a whole number"),
        (lambda: space(replicates=10**30), "replicates=10.* must be a whole number of at most 64"),
        (lambda: space(search={"trials": 2}), r"must be Search\(\.\.\.\) or None"),
        (lambda: space(workers=(1, 2, 3)), "must be at least 1, or"),
        (lambda: space(cpus=float("inf")), "cpus=inf must be a finite number"),
        (lambda: space(gpus=True), "gpus=True must be a finite number"),
        (lambda: Search(trials=True), "trials=True must be a whole number"),
        (lambda: Search(2, rungs=2), "rungs=2 must be a tuple, each item a whole number"),
        (lambda: Search(2, objectives="dice"), "objectives='dice' must be a tuple, each item text"),
        (lambda: Search(2, limits={"ece": float("nan")}), "limits=.* must be a mapping from text"),
        (lambda: Budget(hours=float("nan")), "hours=nan must be a finite number or None"),
        (lambda: Budget(trials="3"), "trials='3' must be a whole number"),
        (lambda: Uniform("0", "1"), "Uniform: low='0' must be a finite number"),
        (lambda: Uniform(0.0, float("inf")), "Uniform: high=inf must be a finite number"),
        (lambda: Integer(1, 2.5), "Integer: high=2.5 must be a whole number"),
    ],
)
def test_bad_vocabulary_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_put_refuses_to_go_below_a_number() -> None:
    with pytest.raises(ValueError, match="goes below 'steps', which holds 5"):
        put({"train": {"steps": 5}}, "train.steps.x", 1)


def test_a_space_by_path_is_a_study_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        f"from search_spaces import Space\nSPACE = Space(question='?', config={SMALL!r})\n"
    )
    name, loaded = search_spaces.load(str(file))
    assert name == "mine"
    assert len(check(loaded)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define SPACE = Space"),
        ("import nothing_like_it", "ModuleNotFoundError"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("from search_spaces import Uniform\nUniform(2, 1)", "low=2 must be below"),
    ],
)
def test_a_broken_space_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        search_spaces.load(str(file))


def test_an_unknown_space_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'quickstart'\?.*choices: .*quickstart"):
        search_spaces.load("quickstrat")


def test_cells_of_one_reader_are_named_by_what_differs() -> None:
    space = Space(
        question="?",
        config={
            "task": Each(
                {"folder": {"at": "/data/kvasir", "size": 64}},
                {"folder": {"at": "/data/my busi", "size": 64}},
                "nuclei",
                {"./squares.py": {"size": 16}},
            ),
            "model": "ensemdiff",
        },
    )
    names = [cell.name for cell in cells(space)]
    assert names == [
        "folder-kvasir_default",
        "folder-mybusi_default",
        "nuclei_default",
        "squares_default",
    ]


def test_cells_of_one_name_are_refused_whatever_the_arms_grids() -> None:
    """Results are stored by the cell's name, and would be averaged as seeds of one config."""
    arms = {"twin": {"train.decay": Each("none", "linear")}, "linear_twin": {"train.steps": 20}}
    with pytest.raises(ValueError, match="two are called linear_twin"):
        cells(space(arms=arms))


def test_an_arm_may_refine_what_it_sets() -> None:
    arms = {"a": {"train": {"batch": 2}, "train.steps": 20}}
    (cell,) = cells(space(arms=arms))
    config = cell.config({}, {}, seed=0)
    assert (config.train.batch, config.train.steps) == (2, 20)


def test_a_rung_that_no_search_trial_reaches_is_refused() -> None:
    """Nothing would ever be stopped at it."""
    config = {**SMALL, "mode": SEARCHED}
    steps = {"train.steps": 20, "train.validate_every": 10}
    check(space(config=config, search=Search(2, steps, rungs=(10, 20))))
    message = r"Search: no search trial reaches rung 30 \(train.steps is at most 20\)"
    with pytest.raises(ValueError, match=message):
        check(space(config=config, search=Search(2, steps, rungs=(10, 30))))
    longer = {**config, "train": {"steps": Integer(10, 40), "validate_every": 10}}
    check(space(config=longer, search=Search(2, rungs=(30,))))


def test_two_data_sets_of_one_name_are_refused() -> None:
    space = Space(
        question="?",
        config={
            "task": Each({"folder": {"at": "/a/v1"}}, {"nifti": {"at": "/b/v1"}}),
            "model": "ensemdiff",
            "mode": "feedforward",
        },
    )
    with pytest.raises(ValueError, match="two data sets are called v1: /a/v1 and /b/v1"):
        check(space)


def test_too_many_trials_are_refused_by_what_makes_them_until_the_limit_is_raised() -> None:
    config = {**SMALL, "train": {"steps": Each(*range(1, 101)), "batch": Each(1, 2)}}
    arms = {"a": {"mode": "feedforward"}, "b": {"mode": "image_only"}}
    huge = space(config=config, arms=arms, replicates=5)
    with pytest.raises(ValueError, match=r"2,000 trials, more than most=1,000") as error:
        cells(huge)
    for factor in ("train.steps 100", "train.batch 2", "arms 2", "replicates 5"):
        assert factor in str(error.value)
    assert len(cells(space(config=config, arms=arms, replicates=5, most=2000))) == 400


def test_the_limit_is_found_before_a_grid_is_gone_through() -> None:
    values = {k: Each(*range(1, 1001)) for k in ("steps", "batch", "warmup", "patience")}
    with pytest.raises(ValueError, match="1,000,000,000,000 trials"):
        cells(space(config={**SMALL, "train": values}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": ("dise",)}, "unknown objective 'dise'; did you mean 'dice'"),
        (
            {"objectives": ("dice", "ece")},
            "objective 'ece' would prefer worse values: write '-ece'",
        ),
        ({"objectives": ("-dice",)}, "write 'dice'"),
        ({"limits": {"speed": 3}}, "unknown objective 'speed'"),
        ({"pruner": "wilcoxon"}, "pruner='wilcoxon' needs rungs"),
        ({"pruner": "hyperband"}, "pruner='hyperband' needs rungs"),
        ({"pruner": "none", "rungs": (50,)}, r"rungs=\(50,\) have no effect with pruner='none'"),
        (
            {"objectives": ("dice", "-passes"), "overrides": {"mode.diffusion.members": 3}},
            "Search.overrides change the passes from 10 to 30",
        ),
    ],
)
def test_a_search_that_cannot_judge_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(space(arms={"b": {"mode": SEARCHED}}, search=Search(trials=1, **settings)))


def test_fidelity_is_what_a_search_overrides() -> None:
    """Fewer steps, less data, smaller tiles: cheaper trials of the same values."""
    overrides = {"train.steps": 2, "train.fraction": 0.5, "task.synthetic.size": 8}
    made = space(arms={"b": {"mode": SEARCHED}}, search=Search(trials=1, overrides=overrides))
    (cell,) = check(made)
    cheap, final = (cell.config(cell.example, o, seed=0) for o in (overrides, {}))
    assert (cheap.train.steps, cheap.train.fraction, cheap.task.size) == (2, 0.5, 8)
    assert (final.train.steps, final.train.fraction, final.task.size) == (6, 1.0, 16)
    assert cheap.mode == final.mode


def test_what_may_be_spent_is_no_part_of_the_question() -> None:
    assert repr(space(budget=Budget(trials=3), most=7)) == repr(space())
    assert repr(space(constraints=("train.steps < 9",))) != repr(space())


ALL = f'''"""Whether all of it is said.

Cost: none.
"""
from search_spaces import *
from search_spaces import Budget
SPACE = Space(
    question="What is said?",
    config={{**{SMALL!r}, "train": {{"steps": Each(2, 4), "batch": 4, "validate_every": 2}}}},
    arms={{"a": {{"mode": "feedforward"}}, "b": {{"mode": {{"diffusion": {{
        "schedule": Choice({{"linear": {{}}, "cosine": {{"shift": Uniform(-3, 1)}}}}),
        "members": Integer(1, 3)}}}}}}}},
    constraints=("mode != 'feedforward' or train.steps < 4",),
    search=Search(
        7, rungs=(2,), objectives=("dice", "-ece"), limits={{"passes": 20}}, warm_start=("old",)
    ),
    replicates=2,
    budget=Budget(money=30, rates={{"cpu": 3.0}}),
    most=19,
)
'''


def test_show_prints_all_that_a_space_says(inline: Segprint, tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text(ALL)
    refused = inline("show", "./all.py")
    assert refused.returncode == 2
    assert "22 trials, less those that the constraints exclude, more than most=19" in refused.stderr
    (tmp_path / "all.py").write_text(ALL.replace("most=19", "most=200"))
    shown = inline("show", "./all.py")
    assert shown.returncode == 0
    for words in (
        "What is said?",
        "Whether all of it is said.",
        "-3 to 1",
        "1..3",
        "2 | 4",
        "linear | cosine",
        "mode != 'feedforward' or train.steps < 4",
        "dice up, ece down; limits: passes 20",
        "halving at steps [2]",
        "starts from: old",
        "30 money",
        "3 cells, 14 search and 6 final trials (most: 200)",
        "; left out because of a constraint: 1 more cell",
    ):
        assert words in shown.stdout, words
    told = json.loads(inline("show", "./all.py", "--json").stdout)
    assert (told["trials"], told["left_out"], len(told["cells"])) == (20, 1, 3)


def test_show_prints_every_digit_of_a_range(inline: Segprint, tmp_path: Path) -> None:
    """Rounded to six digits, the range would be 1 to 1."""
    config = {**SMALL, "train": {**SMALL["train"], "ema": "HERE"}}
    text = repr(config).replace("'HERE'", "Uniform(0.99999951, 0.99999952)")
    (tmp_path / "fine.py").write_text(
        f"from search_spaces import *\nSPACE = Space('?', {text}, search=Search(trials=2))\n"
    )
    assert "0.99999951 to 0.99999952" in inline("show", "./fine.py").stdout


def test_the_limit_on_trials_is_raised_on_purpose(inline: Segprint, tmp_path: Path) -> None:
    text = ALL.replace(', warm_start=("old",)', "")
    (tmp_path / "all.py").write_text(text)
    refused = inline("plan", "./all.py", "--json")
    assert refused.returncode == 2
    assert "raise the limit with Space(most=...)" in refused.stderr
    made = json.loads(inline("plan", "./all.py", "--most", "20", "--json").stdout)
    assert (made["configs"], made["to_run"], made["left_out"]) == (20, 20, 1)
    assert made["device_seconds_low"] < made["device_seconds"] < made["device_seconds_high"]
    assert made["money"] == pytest.approx(made["device_seconds"] / 1200, abs=0.01)


@pytest.mark.parametrize(
    "path",
    ["train.learning_rate", "mode.diffusion.schedule.cosine.shift", "mode.diffusion", "mode"],
)
def test_an_override_of_a_searched_value_is_refused(path: str) -> None:
    """It would train another value than the one that Optuna was told."""
    schedule = Choice({"cosine": {"shift": Uniform(-1.0, 1.0)}})
    space = Space(
        question="?",
        config={
            "task": {"synthetic": {"size": 32, "cases": 4}},
            "model": "ensemdiff",
            "train": {"learning_rate": LogUniform(1e-4, 1e-2)},
            "mode": {"diffusion": {"schedule": schedule}},
        },
        search=Search(trials=2, overrides={path: 0.1}),
    )
    with pytest.raises(ValueError, match=rf"overrides sets '{path}', but '[\w.]+' is searched"):
        check(space)

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from orchestrator.cells import cells, check
from orchestrator.holes import corners, fill
from search_spaces import Choice, Each, Integer, LogUniform, Search, Space, Uniform, put, walk
from tests.conftest import SMALL

SEARCHED = {
    "diffusion": {
        "schedule": Choice({"linear": {}, "cosine": {"shift": Uniform(-2.0, 1.0)}}),
        "t_high": Uniform(0.8, 1.0),
    }
}


def space(**changes: object) -> Space:
    settings: dict[str, object] = {"question": "?", "config": SMALL, **changes}
    return Space(**settings)  # type: ignore[arg-type]


def test_holes_are_named_by_their_path() -> None:
    assert [path for path, _ in walk({"mode": SEARCHED})] == [
        "mode.diffusion.schedule",
        "mode.diffusion.schedule.cosine.shift",
        "mode.diffusion.t_high",
    ]


def test_a_choice_brings_only_its_own_holes() -> None:
    values = {"mode.diffusion.schedule": "linear", "mode.diffusion.t_high": 0.9}
    filled = fill({"mode": SEARCHED}, values)
    assert filled == {"mode": {"diffusion": {"schedule": {"linear": {}}, "t_high": 0.9}}}


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


def test_searched_holes_need_a_budget() -> None:
    with pytest.raises(ValueError, match="needs search=Search"):
        cells(space(arms={"b": {"mode": SEARCHED}}))


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
        (lambda: space(arms={"a b": {}}), "arm 'a b' must be a plain word"),
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

"""Constraints of a space: which cells and corners they leave, and which mean nothing."""

from __future__ import annotations

import pytest

from orchestrator.planning.cells import cells, left_out
from orchestrator.planning.validation import check
from search_spaces import Choice, Each, Search, Uniform
from tests.conftest import SMALL
from tests.unit.test_search_spaces import space

GRID = {**SMALL, "train": {"steps": Each(2, 4, 8), "batch": Each(2, 4)}}


def test_cells_that_break_a_constraint_are_left_out_of_a_grid() -> None:
    made = space(config=GRID, constraints=("train.steps * train.batch <= 16",))
    kept = [(c.template["train"]["steps"], c.template["train"]["batch"]) for c in check(made)]
    assert kept == [(2, 2), (2, 4), (4, 2), (4, 4), (8, 2)]
    assert left_out(made) == 1
    assert left_out(space(config=GRID)) == 0


def test_a_constraint_sees_defaults_and_parts_and_spares_what_has_neither() -> None:
    arms = {"a": {"mode": "feedforward"}, "b": {"mode": {"diffusion": {"members": 8}}}}
    for rule, names in (
        ("mode.diffusion.members < 8", ["a"]),
        ("mode != 'feedforward'", ["b"]),
        ("train.augment.elastic == 0 and not mode in ['feedforward', 'image_only']", ["b"]),
        ("mode.diffusion.t_low < mode.diffusion.t_high", ["a", "b"]),  # nobody wrote them
    ):
        assert [c.name for c in check(space(arms=arms, constraints=(rule,)))] == names


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("train.stepz < 5", "constraint 'train.stepz < 5': no cell has train.stepz"),
        ("train.steps > 'many'", "constraint .*not supported between"),
        ("train.steps > 100", "the constraints leave no cell"),
    ],
)
def test_a_constraint_that_means_nothing_is_refused(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(space(constraints=(rule,)))


def test_a_constraint_compares_with_none() -> None:
    low = {"nifti": {"at": "/nowhere", "window_low": Choice([None, -100.0, 0.0])}}
    rule = "task.nifti.window_low == None or task.nifti.window_low < 0"
    made = space(config={**SMALL, "task": low}, search=Search(trials=1), constraints=(rule,))
    (cell,) = cells(made)
    assert [v["task.nifti.window_low"] for v in cell.corners] == [None, -100.0]


def test_corners_that_break_a_constraint_need_not_be_configs() -> None:
    ends = {"t_low": Uniform(0.0, 0.6), "t_high": Uniform(0.5, 1.0)}
    arms = {"a": {"mode": {"diffusion": {**ends, "schedule": Choice(["linear", "cosine"])}}}}
    narrow = "mode.diffusion.t_high - mode.diffusion.t_low < 0.3"
    (cell,) = check(space(arms=arms, search=Search(trials=1), constraints=(narrow,)))
    values = cell.example  # no corner keeps it, so one is drawn
    assert 0 < values["mode.diffusion.t_high"] - values["mode.diffusion.t_low"] < 0.3
    with pytest.raises(ValueError, match="cell a: no values satisfy the constraints"):
        check(
            space(
                arms=arms,
                search=Search(trials=1),
                constraints=("mode.diffusion.t_high < mode.diffusion.t_low - 0.2",),
            )
        )

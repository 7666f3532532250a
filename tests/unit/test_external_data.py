"""Data sets of an external test are seen as the network's training data were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from orchestrator.commands.evaluate import as_trained
from orchestrator.planning.derived_study import SourceTrial, derive
from trainables.config import Config
from trainables.datasets import Dataset
from trainables.parsing import parse_part


@pytest.mark.parametrize(
    ("part", "trained", "given", "seen"),
    [
        (
            "nifti",
            {"axis": 1, "window_low": -160.0, "window_high": 240.0},
            {},
            {"axis": 1, "window_low": -160.0, "window_high": 240.0},
        ),
        ("nifti", {"axis": 1}, {"axis": 0}, {"axis": 0}),
        (
            "folder",
            {"values": {"0": "background", "1": "liver", "2": "liver", "3": "vessel"}},
            {},
            {"classes": ("background", "liver", "vessel")},
        ),
        (
            "folder",
            {"values": {"0": "background", "1": "liver", "2": "liver"}},
            {"foreground": ["liver"]},
            {"values": ()},
        ),
        ("folder", {"foreground": ["a", "b"]}, {}, {"foreground": ("a", "b"), "values": ()}),
    ],
)
def test_fields_that_are_not_given_are_those_of_the_training_data(
    part: str, trained: dict[str, Any], given: dict[str, Any], seen: dict[str, Any]
) -> None:
    fields = {"at": "training", "size": 32, **trained}
    task = cast("Dataset", parse_part("datasets", {part: fields}))
    found = as_trained((part, {"at": "clinic", **given}), task)
    assert {name: getattr(found, name) for name in seen} == seen
    assert (found.size, found.at) == (32, "clinic")
    if "values" in trained and not given:
        assert found.values == task.values


def test_the_names_of_the_classes_are_those_of_a_task_that_numbers_none() -> None:
    task = cast("Dataset", parse_part("datasets", {"nuclei": {"size": 32}}))
    found = as_trained(("folder", {"at": "clinic"}), task)
    assert found.classes == task.classes
    assert found.size == 32


def test_cells_that_differ_in_a_sign_only_are_two_arms(small: Callable[..., Config]) -> None:
    sources = [
        SourceTrial("default", f"cosine-{shift}_default", seed, f"{i}{seed}" * 8, config, 8)
        for i, shift in enumerate((-2.0, 2.0))
        for seed in range(2)
        for config in [small(mode={"diffusion": {"schedule": {"cosine": {"shift": shift}}}})]
    ]
    space = derive("again", "?", sources, lambda source: source.config).space
    shifts = {
        name: arm["mode"]["diffusion"]["schedule"]["cosine"]["shift"]
        for name, arm in cast("dict[str, Any]", space.arms).items()
    }
    assert shifts == {"cosine_2_0_default": -2.0, "cosine_2_0_default_2": 2.0}

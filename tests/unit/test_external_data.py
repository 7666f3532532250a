"""Data sets of an external test are seen as the network's training data were."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.commands.evaluate import _dataset
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
    task = parse_part("datasets", {part: {"at": "training", "size": 32, **trained}})
    found = _dataset((part, {"at": "clinic", **given}), task)  # type: ignore[arg-type]
    assert {name: getattr(found, name) for name in seen} == seen
    assert (found.size, found.at) == (32, "clinic")
    if "values" in trained and not given:
        assert found.values == task.values

"""Held-out images whose foreground no tile contains, or hardly any: a warning before training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from orchestrator.diagnostics.dataset_check import walk
from orchestrator.diagnostics.scored_pixels import warnings
from tests import trees
from tests.broken import folder
from tests.conftest import SMALL, Segprint
from tests.trees import png, put
from trainables.config import Config
from trainables.datasets.folder import Folder

SIDE = 48


def write(root: Path, rows: slice, columns: slice) -> Path:
    """Twenty images with one rectangular lesion each."""
    for i in range(20):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[rows, columns] = 1
        put(root / "images" / f"{i:02d}.png", png(trees.photo(mask, i)))
        put(root / "masks" / f"{i:02d}.png", png(mask * 255))
    return root


IN_THE_REMAINDER = slice(40, 46), slice(10, 30)
IN_A_TILE = slice(4, 24), slice(4, 24)
ONE_PIXEL = slice(4, 5), slice(4, 5)


def rules(root: Path, rows: slice, columns: slice) -> list[str]:
    found = walk(folder(write(root, rows, columns), size=32))
    assert not found.broken
    return [f"{p.file}: {p.rule}" for p in found.problems if p.file in ("val", "test")]


def test_a_lesion_that_no_tile_contains_is_a_warning(tmp_path: Path) -> None:
    lines = rules(tmp_path, *IN_THE_REMAINDER)
    assert {line.partition(":")[0] for line in lines} == {"val", "test"}
    assert all("tiles of 32 pixels cover 0 of the " in line for line in lines)


def test_a_handful_of_pixels_is_a_warning_and_a_whole_lesion_is_none(tmp_path: Path) -> None:
    assert any("fewer than 100" in line for line in rules(tmp_path / "a", *ONE_PIXEL))
    assert rules(tmp_path / "b", *IN_A_TILE) == []


def of(small: Callable[..., Config], dataset: Folder, unit: str = "tiles") -> Config:
    fields = {"at": dataset.at, "size": dataset.size}
    return small(task={"folder": fields}, test={"unit": unit})


def test_a_config_whose_validation_has_no_foreground_is_warned_about(
    tmp_path: Path, small: Callable[..., Config]
) -> None:
    remainder = folder(write(tmp_path / "a", *IN_THE_REMAINDER), size=32)
    without = of(small, remainder)
    none, left_out = warnings([without, without])
    assert "with 0 pixels of foreground" in none
    share = 1 - 32**2 / SIDE**2
    assert f"{share:.0%} of the held-out pixels lie in no tile" in left_out
    assert warnings([of(small, remainder, "cases")]) == []
    (line,) = warnings([of(small, folder(write(tmp_path / "b", *IN_A_TILE), size=32))])
    assert "in no tile" in line
    (line,) = warnings([of(small, folder(write(tmp_path / "c", *ONE_PIXEL), size=32), "cases")])
    assert "(cases) with" in line


def test_the_plan_warns_before_anything_trains(tmp_path: Path, inline: Segprint) -> None:
    root = write(tmp_path / "data", *ONE_PIXEL)
    config = {**SMALL, "task": {"folder": {"at": str(root), "size": 32}}}
    space = tmp_path / "lesions.py"
    text = f"from search_spaces import Space\nSPACE = Space(question='?', config={config!r})\n"
    space.write_text(text, encoding="utf-8")
    planned = inline("plan", str(space), "--json")
    assert planned.returncode == 0, planned.stderr
    (line,) = json.loads(planned.stdout)["warnings"]
    assert "pixels of foreground" in line
    assert line in inline("plan", str(space)).stdout

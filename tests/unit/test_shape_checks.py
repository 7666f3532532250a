"""Images smaller than a tile, masks that number no objects, grey masks, and units of length."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.ndimage

from orchestrator.diagnostics.dataset_check import walk
from orchestrator.diagnostics.scored_pixels import warnings
from tests import trees
from tests.broken import Array, folder
from tests.conftest import SMALL
from tests.trees import png, put
from trainables.config import parse
from trainables.decoding.tree import tree
from trainables.decoding.volumes import read_voxels, sides

HEIGHT, WIDTH = 40, 48


def squares(numbers: tuple[int, int, int]) -> Array:
    """Three separate objects with these numbers."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for k, number in enumerate(numbers):
        mask[4 + 4 * k : 14 + 4 * k, 2 + 15 * k : 12 + 15 * k] = number
    return mask


def write(root: Path, mask: Array) -> Path:
    for i in range(10):
        put(root / "images" / f"{i}.png", png(trees.photo((mask > 127).astype(np.uint8), i)))
        put(root / "masks" / f"{i}.png", png(np.roll(mask, i, 0)))
    return root


def rules(root: Path, **fields: Any) -> list[str]:
    return [p.rule for p in walk(folder(root, **fields)).problems]


def test_a_tile_of_repeated_edges_is_a_warning_of_check_and_plan(tmp_path: Path) -> None:
    write(tmp_path, squares((255, 255, 255)))
    share = 1 - HEIGHT * WIDTH / 64**2
    (found,) = (r for r in rules(tmp_path, size=64) if "repeats their edges" in r)
    assert f"size=64 is larger than images of {WIDTH} x {HEIGHT}: {share:.0%}" in found
    assert not any("edges" in r for r in rules(tmp_path, size=48))
    task = {"folder": {"at": str(tmp_path), "size": 64}}
    assert any(found in line for line in warnings([parse({**SMALL, "task": task})]))


@pytest.mark.parametrize(
    ("numbers", "warned"), [((255, 255, 255), True), ((1, 1, 1), True), ((1, 2, 3), False)]
)
def test_masks_that_give_all_objects_one_number_are_a_warning(
    tmp_path: Path, numbers: tuple[int, int, int], warned: bool
) -> None:
    found = rules(write(tmp_path, squares(numbers)), size=16, objects=True)
    assert any("one number, for up to 3 separate pieces" in r for r in found) == warned


def test_grey_masks_are_not_taken_for_numbered_objects(tmp_path: Path) -> None:
    soft = scipy.ndimage.gaussian_filter(squares((255, 255, 255)).astype(float), 2)
    mask = np.round(soft * 255 / soft.max()).astype(np.uint8)
    (found,) = (r for r in rules(write(tmp_path, mask)) if "stand for no class" in r)
    assert "look like grey levels" in found
    assert "objects=true" not in found


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)]
)
def test_sides_of_voxels_are_in_millimetres_whatever_the_header_has(
    tmp_path: Path, unit: str, millimetres: float
) -> None:
    library: Any = nibabel
    image = library.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units(unit)
    put(tmp_path / "a.nii.gz", gzip.compress(image.to_bytes()))
    (file,) = tree(str(tmp_path)).files
    assert sides(read_voxels(file)) == pytest.approx([n * millimetres for n in (2, 3, 4)])

"""Masks that can be read and are wrong: each kind is a warning, and good masks give none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from orchestrator.diagnostics.contact_sheet import sheet
from orchestrator.diagnostics.dataset_check import walk
from orchestrator.diagnostics.mask_checks import Case, outliers
from tests import trees
from tests.broken import Array, folder
from tests.trees import png, put
from trainables.datasets import Source

SIDE = 48


def mask_of(i: int) -> Array:
    return (trees.blobs(SIDE, SIDE, 1, i) > 0).astype(np.uint8)


def scattered(i: int) -> Array:
    return (np.random.default_rng(i).random((SIDE, SIDE)) < 0.3).astype(np.uint8)


def write(root: Path, change: Callable[[int, Array], Array]) -> Path:
    for i in range(20):
        mask = np.ascontiguousarray(change(i, mask_of(i)))
        put(root / "images" / f"{i:02d}.png", png(trees.photo(mask_of(i), i)))
        put(root / "masks" / f"{i:02d}.png", png(mask * 255))
    return root


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda i, m: 1 - m, "of the median image, and its border: are foreground and background"),
        (lambda i, m: 1 - m if i % 5 == 0 else m, "some masks may be inverted, such as images/"),
        (lambda i, m: m[::-1], "only when they are mirrored upside down"),
        (lambda i, m: m[:, ::-1], "only when they are mirrored left to right"),
        (lambda i, m: m.T, "only when they are transposed"),
        (lambda i, m: np.rot90(m), "only when they are turned by 270°"),
        (lambda i, m: mask_of(3), "20 images have the same mask"),
        (lambda i, m: m - scipy.ndimage.binary_erosion(m), "are thin lines around background"),
        (lambda i, m: scattered(i), "are scattered single pixels"),
    ],
)
def test_wrong_masks_are_a_warning(
    tmp_path: Path, change: Callable[[int, Array], Array], rule: str
) -> None:
    found = walk(folder(write(tmp_path, change)))
    assert not found.broken
    assert any(rule in p.rule for p in found.problems), found.problems


def test_good_masks_are_none(tmp_path: Path) -> None:
    assert walk(folder(write(tmp_path, lambda i, m: m))).problems == []


def test_masks_of_any_share_are_none_where_the_shares_have_no_gap(tmp_path: Path) -> None:
    def grown(i: int, mask: Array) -> Array:
        rows, columns = np.mgrid[:SIDE, :SIDE]
        return (rows + columns < 4 * (i + 2)).astype(np.uint8)

    rules = [p.rule for p in walk(folder(write(tmp_path, grown))).problems]
    assert not any("inverted" in rule or "swapped" in rule for rule in rules)


def test_a_class_that_never_occurs_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, lambda i, m: m)
    found = walk(folder(root, values=((0, "background"), (7, "vessel"), (255, "lesion"))))
    assert any("no mask of this split has a pixel of vessel" in p.rule for p in found.problems)


def test_outliers_are_far_from_the_median_in_logits() -> None:
    cases = [Case(f"{i}", 0.1 + i / 1000, 0, 1) for i in range(10)]
    assert outliers(cases) == []
    odd, odder = Case("odd", 0.6, 0, 1), Case("odder", 0.99, 0, 1)
    empty = Case("empty", 0, 0, 0)
    assert outliers([*cases, odd, empty, odder]) == [odder, odd]


def test_the_sheet_says_what_the_check_says_of_polarity(tmp_path: Path) -> None:
    root = write(tmp_path / "set", lambda i, m: 1 - m)
    (problem,) = sheet(folder(root), tmp_path / "sheet.png")
    assert "are foreground and background swapped?" in problem.rule


def test_masks_that_number_objects_are_one_problem_with_its_cure(tmp_path: Path) -> None:
    """Every mask breaks the rule: one row says it, and its cure reads the objects."""
    for i in range(20):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for k in range(3):
            mask[4 + i : 12 + i, 4 + 14 * k : 14 + 14 * k] = 40 + 3 * k + i
        put(tmp_path / "images" / f"{i:02d}.png", png(trees.photo(mask_of(i), i)))
        put(tmp_path / "masks" / f"{i:02d}.png", png(mask))
    problems = [p for p in walk(folder(tmp_path)).problems if "stand for no class" in p.rule]
    assert len(problems) == 1
    assert "set objects=true" in problems[0].rule
    assert "so do 19 more files" in problems[0].rule
    found = list(folder(tmp_path, objects=True).scan())
    rasters = {source.name: source.read() for source in found if isinstance(source, Source)}
    assert len(rasters) == 20
    for raster in rasters.values():
        assert raster.instances is not None
        assert [int((raster.instances == k).sum()) for k in range(1, 5)] == [80, 80, 80, 0]
        np.testing.assert_array_equal(raster.labels, raster.instances > 0)

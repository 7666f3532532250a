from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from orchestrator.diagnostics.contact_sheet import FILL, LINE, SIDE, outlined, sheet
from tests import trees
from trainables.datasets import Raster
from trainables.datasets.folder import Folder
from trainables.part import Location

COLOURS = np.array([[9.0, 9, 9], [1, 1, 0], [0, 1, 1]])


def test_outlines_lie_inside_the_mask_along_its_border_in_the_colour_of_the_class() -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[40:100, 50:120] = 1
    labels[200:, 200:] = 2  # to the image's edge, which is no border
    shown = outlined(Raster(np.zeros((1, SIDE, SIDE), np.uint8), labels), COLOURS)
    for k in (1, 2):
        drawn = (shown == COLOURS[k]).all(-1)
        inner = scipy.ndimage.binary_erosion(labels == k, np.ones((3, 1)), LINE, border_value=1)
        inner &= scipy.ndimage.binary_erosion(labels == k, np.ones((1, 3)), LINE, border_value=1)
        np.testing.assert_array_equal(drawn, (labels == k) & ~inner)


def test_masks_are_filled_so_that_an_inverted_one_looks_inverted() -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[100:200, 100:200] = 1
    pixels = np.full((1, SIDE, SIDE), 50, np.uint8)
    for mask in (labels, 1 - labels):
        shown = outlined(Raster(pixels, mask), COLOURS)
        inner = scipy.ndimage.binary_erosion(mask, np.ones((5, 5)), border_value=1)
        np.testing.assert_allclose(shown[inner], FILL * COLOURS[1] + 0 * shown[inner])
        assert not shown[mask == 0].any()


def test_objects_that_touch_have_a_line_between_them() -> None:
    labels = np.ones((SIDE, SIDE), np.uint8)
    instances = np.ones((SIDE, SIDE), np.int32)
    instances[:, 160:] = 2
    shown = outlined(Raster(np.zeros((1, SIDE, SIDE), np.uint8), labels, instances), COLOURS)
    columns = np.flatnonzero((shown == COLOURS[1]).all(-1).all(0))
    assert columns.tolist() == [158, 159, 160, 161]


def test_a_sheet_is_a_picture_and_tells_what_could_not_be_shown(tmp_path: Path) -> None:
    trees.folder(tmp_path / "set")
    (tmp_path / "set" / "images" / "plain.jpg").write_bytes(b"")
    dataset = Folder(at=Location(str(tmp_path / "set")))
    (problem,) = sheet(dataset, tmp_path / "sheet.png")
    assert problem.file == "images/plain.jpg"
    with PIL.Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"
        yellow = (np.asarray(picture.convert("RGB")) == [255, 255, 0]).all(-1).sum()
    assert yellow > 1000


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "readme.txt").write_text("nothing here")
    with pytest.raises(ValueError, match="no image can be shown: .*has no image in a folder named"):
        sheet(Folder(at=Location(str(tmp_path / "set"))), tmp_path / "sheet.png")

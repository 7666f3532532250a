from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from tests import trees
from trainables.decoding.polygons import Region, fill, filled, read_regions

POINT = st.tuples(st.floats(-5, 25), st.floats(-5, 20))


@given(st.lists(POINT, min_size=3, max_size=12))
def test_a_pixel_is_inside_where_matplotlib_says_that_its_centre_is(
    points: list[tuple[float, float]],
) -> None:
    """Even–odd against an independent library, centres on an edge left out."""
    height, width, polygon = 15, 20, np.array(points)
    rows, columns, inside = filled(polygon, height, width)
    ours = np.zeros((height, width), bool)
    ours[rows, columns] = inside
    r, c = np.mgrid[:height, :width]
    centres = np.stack([c.ravel() + 0.5, r.ravel() + 0.5], 1)
    near = np.full(len(centres), np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        along = b - a
        t = ((centres - a) @ along / max(along @ along, 1e-300)).clip(0, 1)
        near = np.minimum(near, np.linalg.norm(centres - a - t[:, None] * along, axis=1))
    theirs = _even_odd(polygon, centres)
    clear = near > 1e-6
    np.testing.assert_array_equal(ours.ravel()[clear], theirs[clear])


def _even_odd(polygon: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """matplotlib fills by winding number; triangles of a fan make it even–odd."""
    odd = np.zeros(len(centres), bool)
    for a, b in itertools.pairwise(polygon[1:]):
        odd ^= Outline(np.array([polygon[0], a, b, polygon[0]]), closed=True).contains_points(
            centres
        )
    return odd


def test_the_area_of_a_filled_disc_is_right() -> None:
    turns = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    disc = np.stack([50 + 30 * np.cos(turns), 50 + 30 * np.sin(turns)], 1)
    instances, _ = fill([Region("1", disc)], 100, 100)
    assert (instances > 0).sum() == pytest.approx(np.pi * 900, rel=0.005)


def test_where_polygons_overlap_the_first_one_keeps_the_pixel() -> None:
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    instances, notes = fill(
        [Region("7", square), Region("8", square + 2), Region("9", square)], 6, 6
    )
    expected = np.zeros((6, 6), np.int32)
    expected[2:6, 2:6] = 2
    expected[:4, :4] = 1
    np.testing.assert_array_equal(instances, expected)
    assert notes == ["region 9 has no pixel of its own"]


def test_polygons_across_the_border_are_cut_there() -> None:
    square = np.array([[-3.0, -3], [2, -3], [2, 2], [-3, 2]])
    instances, _ = fill([Region("1", square), Region("2", square + 8)], 10, 10)
    assert (instances == 1).sum() == 4
    assert (instances == 2).sum() == 25
    assert instances[9, 9] == 2


def test_all_regions_of_all_annotations_are_read_by_their_tags() -> None:
    first = [(1.5, 2.25), (8.0, 2.0), (6.0, 9.0)]
    xml = trees.aperio([first, [(0, 0), (1, 0)]])
    second = b"<Annotation Id='2'><Regions/></Annotation></Annotations>"
    regions = read_regions(xml.replace(b"</Annotations>", second))
    assert [r.name for r in regions] == ["1", "2"]
    np.testing.assert_allclose(regions[0].polygon, first)
    instances, notes = fill(regions, 10, 10)
    assert instances.max() == 1
    assert notes == ["region 2 has 2 vertices and is left out: no polygon"]


def test_a_hole_is_cut_out_of_the_region_around_it_and_not_out_of_one_within_it() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    regions = [
        Region("1", square * 10),
        Region("2", square * 6 + 2, hole=True),
        Region("3", square * 2 + 4),
        Region("4", square * 2 + 12, hole=True),
    ]
    expected = np.zeros((16, 16), np.int32)
    expected[:10, :10] = 1
    expected[2:8, 2:8] = 0
    expected[4:6, 4:6] = 3
    for order in (regions, regions[::-1]):
        instances, notes = fill(order, 16, 16)
        np.testing.assert_array_equal(instances > 0, expected > 0)
        assert notes == ["region 4 is a hole (NegativeROA) in no other region"]
    np.testing.assert_array_equal(fill(regions, 16, 16)[0], expected)


def test_the_hole_of_an_xml_file_is_known_by_its_attribute() -> None:
    xml = trees.aperio([[(0, 0), (9, 0), (9, 9)], [(4, 1), (6, 1), (6, 3)]])
    at = xml.rindex(b'NegativeROA="0"')
    regions = read_regions(xml[:at] + b'NegativeROA="1"' + xml[at + 15 :])
    assert [r.hole for r in regions] == [False, True]

"""Objects found and missed, against loops over every pair of instances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from trainables.evaluation import instances

Labels = NDArray[np.int32]
LABELS = arrays(np.int32, (4, 5), elements=st.integers(0, 4))


def row(predicted: Labels, truth: Labels) -> dict[str, int | float]:
    return instances.row(torch.from_numpy(predicted), torch.from_numpy(truth))


def ids(labels: Labels) -> list[int]:
    """Instances in the order in which their pixels come, line by line."""
    return list(dict.fromkeys(int(i) for i in labels.ravel() if i))


def aggregated_jaccard(predicted: Labels, truth: Labels) -> tuple[int, int]:
    """Kumar et al. 2017, algorithm 1; a true instance that nothing overlaps is all union."""
    intersection, union, used = 0, 0, set[int]()
    for t in ids(truth):
        mine = truth == t
        best, chosen = 0.0, None
        for p in ids(np.where(mine, predicted, 0)):
            theirs = predicted == p
            overlap = float((mine & theirs).sum() / (mine | theirs).sum())
            if overlap > best:
                best, chosen = overlap, p
        if chosen is None:
            union += int(mine.sum())
        else:
            intersection += int((mine & (predicted == chosen)).sum())
            union += int((mine | (predicted == chosen)).sum())
            used.add(chosen)
    unused = [p for p in ids(predicted) if p not in used]
    return intersection, union + sum(int((predicted == p).sum()) for p in unused)


def matches(predicted: Labels, truth: Labels) -> list[float]:
    found = [
        float(((truth == t) & (predicted == p)).sum() / ((truth == t) | (predicted == p)).sum())
        for t in ids(truth)
        for p in ids(predicted)
    ]
    return [iou for iou in found if iou > 0.5]


@given(predicted=LABELS, truth=LABELS)
def test_a_row_is_its_definition_pair_by_pair(predicted: Labels, truth: Labels) -> None:
    found, expected = row(predicted, truth), matches(predicted, truth)
    assert found["true_instances"] == len(ids(truth))
    assert found["predicted_instances"] == len(ids(predicted))
    assert found["matched"] == len(expected)
    assert found["matched_iou_sum"] == pytest.approx(sum(expected), abs=1e-12)
    aji = (found["aji_intersection"], found["aji_union"])
    assert aji == aggregated_jaccard(predicted, truth)


@given(truth=LABELS, noise=LABELS, changed=arrays(np.bool_, (4, 5)))
def test_a_row_is_its_definition_where_instances_nearly_agree(
    truth: Labels, noise: Labels, changed: NDArray[np.bool_]
) -> None:
    predicted = np.where(changed, noise, truth)
    found, expected = row(predicted, truth), matches(predicted, truth)
    assert found["matched"] == len(expected)
    assert found["matched_iou_sum"] == pytest.approx(sum(expected), abs=1e-12)
    aji = (found["aji_intersection"], found["aji_union"])
    assert aji == aggregated_jaccard(predicted, truth)


@given(predicted=LABELS, truth=LABELS, orders=st.tuples(*[st.permutations(range(1, 5))] * 2))
def test_relabelling_changes_nothing(
    predicted: Labels, truth: Labels, orders: tuple[list[int], list[int]]
) -> None:
    spread = 2**28  # far apart, up to near the largest int32
    one, other = (np.array([0, *order], np.int32) for order in orders)
    assert row(one[predicted] * spread, other[truth]) == row(predicted, truth)


@given(predicted=LABELS, truth=LABELS)
def test_matching_does_not_care_which_is_the_truth(predicted: Labels, truth: Labels) -> None:
    one, other = row(predicted, truth), row(truth, predicted)
    assert one["matched"] == other["matched"]
    assert one["matched_iou_sum"] == pytest.approx(other["matched_iou_sum"], abs=1e-12)


@given(top=st.tuples(LABELS, LABELS), bottom=st.tuples(LABELS, LABELS))
def test_rows_of_two_tiles_add(top: tuple[Labels, Labels], bottom: tuple[Labels, Labels]) -> None:
    whole = [np.concatenate([a, np.where(b, b + 9, 0)]) for a, b in zip(top, bottom, strict=True)]
    parts = [row(*top), row(*bottom)]
    found = row(*whole)
    assert found == {k: pytest.approx(parts[0][k] + parts[1][k], abs=1e-12) for k in found}


def test_a_prediction_that_two_true_instances_share_counts_twice() -> None:
    truth = np.array([[1, 1, 0, 2]], np.int32)
    merged = np.array([[7, 7, 7, 7]], np.int32)
    found = row(merged, truth)
    assert (found["aji_intersection"], found["aji_union"]) == (2 + 1, 4 + 4)
    assert found["matched"] == 0  # an IoU of exactly ½ is no match


def test_of_equal_overlaps_the_first_is_chosen_whatever_its_label() -> None:
    """Both predictions share a third with the first instance; the second has chosen one of them."""
    truth = np.array([[2, 1, 1, 0]], np.int32)
    for one, other in ((1, 2), (2, 1)):
        found = row(np.array([[one, one, other, other]], np.int32), truth)
        assert (found["aji_intersection"], found["aji_union"]) == (1 + 1, 3 + 2 + 2)


def connected(mask: list[list[int]]) -> Tensor:
    return instances.components(torch.tensor(mask, dtype=torch.bool))


def test_components_touch_by_their_sides() -> None:
    found = connected([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1]])
    assert found.dtype == torch.int32
    assert found.tolist() == [[1, 1, 0, 0], [0, 0, 2, 0], [3, 0, 2, 2]]
    assert connected([[0, 0], [0, 0]]).max() == 0


def test_components_of_a_view_are_those_of_its_copy() -> None:
    mask = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    view = mask.T[::2]
    assert torch.equal(instances.components(view), instances.components(view.clone()))


@given(arrays(np.bool_, (9, 11)), st.integers(1, 4))
def test_a_band_is_what_is_near_the_other_side(mask: NDArray[np.bool_], width: int) -> None:
    """Pixel by pixel: the distance to the nearest pixel that is not on its side."""
    at = np.argwhere(np.ones_like(mask))
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1)
    other = mask.ravel()[:, None] != mask.ravel()[None]
    near = (other & (apart <= width + 1e-9)).any(1).reshape(mask.shape)
    found = instances.boundary_band(torch.from_numpy(mask), width=width)
    assert found.numpy().tolist() == near.tolist()


def test_a_straight_edge_has_a_band_on_both_sides_and_none_at_the_images_border() -> None:
    mask = torch.zeros(4, 20, dtype=torch.bool)
    mask[:, :10] = True
    assert instances.boundary_band(mask)[0].nonzero().flatten().tolist() == [7, 8, 9, 10, 11, 12]
    for one_side in (torch.zeros_like(mask), torch.ones_like(mask)):
        assert not instances.boundary_band(one_side).any()


def correlation(shape: dict[str, int], mask: Tensor) -> float:
    """Of neighbours, as the columns of ``cases`` give it."""
    p = float(mask.float().mean())
    return 1 - shape["edges"] / shape["pairs"] / (2 * p * (1 - p))


def test_a_checkerboard_is_all_edges() -> None:
    board = (torch.arange(6)[:, None] + torch.arange(8)) % 2 == 0
    found = instances.shape(board)
    assert found == {"edges": 5 * 8 + 6 * 7, "pairs": 5 * 8 + 6 * 7, "objects": 24}
    assert correlation(found, board) == -1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (10, 2)])
def test_a_rectangles_edges_are_its_perimeter(height: int, width: int) -> None:
    mask = torch.zeros(12, 9, dtype=torch.bool)
    mask[1 : 1 + height, 2 : 2 + width] = True
    found = instances.shape(mask)
    assert found == {"edges": 2 * (height + width), "pairs": 11 * 9 + 12 * 8, "objects": 1}
    inverse = instances.shape(~mask)
    assert (inverse["edges"], inverse["pairs"]) == (found["edges"], found["pairs"])


def test_neighbours_of_independent_pixels_are_not_correlated() -> None:
    mask = torch.rand(400, 400, generator=torch.Generator().manual_seed(0)) < 0.3
    assert correlation(instances.shape(mask), mask) == pytest.approx(0, abs=0.01)


@given(mask=arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_a_shape_is_its_definition_pixel_by_pixel(mask: NDArray[np.bool_]) -> None:
    places = list(np.ndindex(mask.shape))
    pairs = [(a, b) for a in places for b in places if a < b and beside(a, b)]
    edges = sum(mask[a] != mask[b] for a, b in pairs)
    found = instances.shape(torch.from_numpy(mask))
    assert (found["edges"], found["pairs"]) == (edges, len(pairs))
    left, count = {p for p in places if mask[p]}, 0
    while left:
        front, count = [left.pop()], count + 1
        while front:
            here = front.pop()
            near = {p for p in left if beside(p, here)}
            left, front = left - near, front + list(near)
    assert found["objects"] == count


def beside(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1


def test_instances_are_counted_as_such_where_they_touch() -> None:
    ids = torch.tensor([[1, 1, 7], [0, 0, 7], [5, 5, 0]], dtype=torch.int32)
    mask = torch.tensor([[1, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)
    assert instances.shape(mask)["objects"] == 1
    assert instances.shape(mask, ids)["objects"] == 2  # 5 is of another class


def test_a_row_has_the_columns_of_its_table() -> None:
    from trainables.schemas import SCHEMAS, to_arrow

    found = row(np.eye(3, dtype=np.int32), np.ones((3, 3), np.int32))
    assert list(found) == SCHEMAS["instances"].names[-len(found) :]
    (back,) = to_arrow("instances", [found], {"digest": "d", "attempt": "a"}).to_pylist()
    assert {k: back[k] for k in found} == found

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

from trainables import objects

Labels = NDArray[np.int32]
LABELS = arrays(np.int32, (4, 5), elements=st.integers(0, 4))


def row(predicted: Labels, truth: Labels) -> dict[str, int | float]:
    return objects.row(torch.from_numpy(predicted), torch.from_numpy(truth))


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
    return objects.components(torch.tensor(mask, dtype=torch.bool))


def test_components_touch_by_their_sides() -> None:
    found = connected([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1]])
    assert found.dtype == torch.int32
    assert found.tolist() == [[1, 1, 0, 0], [0, 0, 2, 0], [3, 0, 2, 2]]
    assert connected([[0, 0], [0, 0]]).max() == 0


def test_components_of_a_view_are_those_of_its_copy() -> None:
    mask = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    view = mask.T[::2]
    assert torch.equal(objects.components(view), objects.components(view.clone()))


def test_a_row_has_the_columns_of_its_table() -> None:
    from trainables.record import SCHEMAS, to_arrow

    found = row(np.eye(3, dtype=np.int32), np.ones((3, 3), np.int32))
    assert list(found) == SCHEMAS["instances"].names[-len(found) :]
    (back,) = to_arrow("instances", [found], {"digest": "d", "attempt": "a"}).to_pylist()
    assert {k: back[k] for k in found} == found

"""How members spread, against every pair and every permutation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.evaluation import diversity
from trainables.metrics.area_crps import AreaCRPS
from trainables.metrics.ged import GED
from trainables.metrics.hm_iou import HungarianIoU


def masks(count: int, seed: int, share: float = 0.4) -> Tensor:
    return torch.rand(count, 3, 3, generator=torch.Generator().manual_seed(seed)) < share


def ged(members: Tensor, annotations: Tensor) -> float:
    row = diversity.row(members, annotations)
    return float(GED().value({k: np.array([float(v)]) for k, v in row.items()})[0])


def hm_iou(members: Tensor, annotations: Tensor) -> float:
    row = diversity.row(members, annotations)
    return float(HungarianIoU().value({k: np.array([float(v)]) for k, v in row.items()})[0])


def iou(a: Tensor, b: Tensor) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def distance(left: Tensor, right: Tensor) -> float:
    """E d over all ordered pairs."""
    return sum(1 - iou(a, b) for a in left for b in right) / (len(left) * len(right))


@given(n=st.integers(1, 5), a=st.integers(1, 4), seed=st.integers(0, 500))
def test_energy_distance_is_its_definition_pair_by_pair(n: int, a: int, seed: int) -> None:
    s, y = masks(n, seed), masks(a, seed + 1000)
    expected = 2 * distance(s, y) - distance(s, s) - distance(y, y)
    assert ged(s, y) == pytest.approx(expected, abs=1e-12)
    assert ged(s, y) >= -1e-12


@pytest.mark.parametrize(("n", "a"), [(1, 1), (3, 1), (2, 3), (4, 2), (6, 3), (1, 5), (3, 3)])
def test_the_matching_is_the_best_of_all_permutations(n: int, a: int) -> None:
    for seed in range(3):
        s, y = masks(n, seed), masks(a, seed + 1000)
        pairs = math.lcm(n, a)
        left = [m for m in s for _ in range(pairs // n)]
        right = [m for m in y for _ in range(pairs // a)]
        table = [[iou(m, other) for other in right] for m in left]
        best = max(
            sum(table[i][j] for i, j in enumerate(order))
            for order in itertools.permutations(range(pairs))
        )
        row = diversity.row(s, y)
        assert row["matched"] == pairs
        assert row["matched_iou_sum"] == pytest.approx(best, abs=1e-12)


def test_known_distances() -> None:
    left, right = torch.zeros(2, 2, 4, dtype=torch.bool)
    left[:, :2], right[:, 2:] = True, True
    half = left.clone()
    half[0] = False
    both = torch.stack([left, right])
    assert ged(left[None], half[None]) == pytest.approx(2 * (1 - 0.5))
    assert ged(left[None], both) == pytest.approx(2 * 0.5 - 0 - 0.5)
    assert hm_iou(left[None], both) == pytest.approx(0.5)
    assert ged(both, both.flip(0)) == pytest.approx(0.0)
    assert hm_iou(both, both.flip(0)) == 1.0
    assert ged(left[None], right[None]) == pytest.approx(2.0)


def test_empty_masks_agree() -> None:
    nothing, something = torch.zeros(2, 3, 3, dtype=torch.bool), torch.ones(1, 3, 3).bool()
    assert ged(nothing, nothing[:1]) == pytest.approx(0.0)
    assert hm_iou(nothing, nothing[:1]) == 1.0
    assert ged(nothing, something) == pytest.approx(2.0)


@given(n=st.integers(1, 4), a=st.integers(1, 3), seed=st.integers(0, 500))
def test_order_and_repetition_of_members_change_nothing(n: int, a: int, seed: int) -> None:
    s, y = masks(n, seed), masks(a, seed + 1000)
    for other in (s.flip(0), torch.cat([s, s])):
        assert ged(other, y) == pytest.approx(ged(s, y), abs=1e-12)
        assert hm_iou(other, y) == pytest.approx(hm_iou(s, y), abs=1e-12)


def test_a_row_has_the_columns_of_its_table() -> None:
    from trainables.schemas import SCHEMAS, to_arrow

    row = diversity.row(masks(4, 0), masks(2, 1))
    assert list(row) == SCHEMAS["samples"].names[-len(row) :]
    (back,) = to_arrow("samples", [row], {"digest": "d", "attempt": "a"}).to_pylist()
    assert {k: back[k] for k in row} == row


def test_counts_are_exact_at_the_size_of_a_slide() -> None:
    """A million pixels and one: float32 sums of products would round if pixels were not counts."""
    whole = torch.ones(1, 1001, 1001, dtype=torch.bool)
    less = whole.clone()
    less[0, 0, 0] = False
    assert diversity.ious(whole, less).item() == (1001**2 - 1) / 1001**2


def crps(members: Tensor, annotations: Tensor) -> float:
    row = diversity.row(members, annotations)
    return float(AreaCRPS().value({k: np.array([float(v)]) for k, v in row.items()})[0])


@given(n=st.integers(1, 5), a=st.integers(1, 4), seed=st.integers(0, 500))
def test_the_crps_of_the_area_is_the_integral_of_its_definition(n: int, a: int, seed: int) -> None:
    """∫ (F(x) − 1{x ≥ y})² dx over whole areas, where both are steps (Gneiting & Raftery 2007)."""
    s, y = masks(n, seed), masks(a, seed + 1000)
    x = np.arange(10)
    cumulative = (s.flatten(1).sum(1).numpy()[:, None] <= x).mean(0)
    beyond = y.flatten(1).sum(1).numpy()[:, None] <= x
    expected = ((cumulative - beyond) ** 2).sum(1).mean()
    assert crps(s, y) == pytest.approx(expected, abs=1e-12)


def test_members_like_the_annotators_are_better_than_their_vote_or_one_of_them() -> None:
    """Three annotators draw rows 1, 1–2 and 1–3 of a square; the vote is the second of them."""
    annotations = torch.zeros(3, 3, 3, dtype=torch.bool)
    for k in range(3):
        annotations[k, : k + 1] = True
    assert ged(annotations, annotations) == pytest.approx(0.0, abs=1e-12)
    assert hm_iou(annotations, annotations) == 1.0
    # E|a − A| = 3·8/9, of which half is the spread of the members.
    assert crps(annotations, annotations) == pytest.approx(3 * 8 / 18)
    for one in annotations.split(1):
        assert ged(one, annotations) > 0.1
        assert crps(one, annotations) > crps(annotations, annotations)

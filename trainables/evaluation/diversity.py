"""The diversity of an ensemble's members, compared with that of the annotations."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from trainables.rows import PairSums

EXACT = 1 << 22
"""Pixels at once, far below 2²⁴, the integers that float32 holds."""


def row(members: Tensor, annotations: Tensor) -> PairSums:
    """Return sums over pairs of masks of one class in one case, of IoU and of |area − area|.

    ``members`` is bool [N, ...], ``annotations`` bool [A, ...], of the same pixels. Sums run over
    all ordered pairs, a mask with itself included. For the matching both lists are repeated up to
    their least common multiple, so that each member and each annotation is in the same number of
    pairs.
    """
    areas, true_areas = (masks.flatten(1).sum(1) for masks in (members, annotations))
    across = ious(members, annotations)
    matched = math.lcm(*across.shape)
    repeated = across.repeat_interleave(matched // len(members), 0)
    repeated = repeated.repeat_interleave(matched // len(annotations), 1).numpy()
    return {
        "truth_pairs": across.numel(),
        "member_pairs": len(members) ** 2,
        "annotation_pairs": len(annotations) ** 2,
        "truth_iou_sum": float(across.sum()),
        "member_iou_sum": float(ious(members, members).sum()),
        "annotation_iou_sum": float(ious(annotations, annotations).sum()),
        "matched": matched,
        "matched_iou_sum": float(repeated[linear_sum_assignment(repeated, maximize=True)].sum()),
        "truth_area_gap_sum": _gaps(areas, true_areas),
        "member_area_gap_sum": _gaps(areas, areas),
    }


def _gaps(left: Tensor, right: Tensor) -> float:
    """Return the sum of |l − r| over all pairs."""
    return float((left[:, None] - right).abs().sum())


def ious(left: Tensor, right: Tensor) -> Tensor:
    """Return the IoU of each mask [L, ...] with each mask [R, ...], bool: float64 [L, R].

    Two empty masks have IoU 1.
    """
    overlap = torch.zeros(len(left), len(right), dtype=torch.float64)
    union = torch.zeros_like(overlap)
    for one, other in zip(_parts(left), _parts(right), strict=True):
        both = (one @ other.T).double()
        overlap += both
        union += one.sum(1)[:, None].double() + other.sum(1) - both
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def _parts(masks: Tensor) -> Iterator[Tensor]:
    """Yield masks [N, ...] as float32 [N, n], in parts whose counts float32 holds exactly."""
    flat = masks.flatten(1)
    for first in range(0, flat.shape[1], EXACT):
        yield flat[:, first : first + EXACT].float()

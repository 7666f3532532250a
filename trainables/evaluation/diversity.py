"""The diversity of an ensemble's members, compared with that of the annotations."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from trainables.rows import PairSums


def row(members: Tensor, annotations: Tensor) -> PairSums:
    """Return sums of IoU over pairs of masks of one class in one case.

    ``members`` is bool [N, ...], ``annotations`` bool [A, ...], of the same pixels. Sums run over
    all ordered pairs, a mask with itself included. For the matching both lists are repeated up to
    their least common multiple, so that each member and each annotation is in the same number of
    pairs.
    """
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
    }


def ious(left: Tensor, right: Tensor) -> Tensor:
    """Return the IoU of each mask [L, ...] with each mask [R, ...], bool: float64 [L, R].

    Two empty masks have IoU 1. Counts are exact up to 2²⁴ pixels, float32's integers.
    """
    one, other = left.flatten(1).float(), right.flatten(1).float()
    overlap = one @ other.T
    union = (one.sum(1)[:, None] + other.sum(1) - overlap).double()
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)

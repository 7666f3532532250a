"""Instances in a mask: its shape, and how many of them a prediction found."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from trainables.rows import InstanceSums, MaskShape
from trainables.schemas import BAND
from trainables.torch_calls import from_array


def components(mask: Tensor) -> Tensor:
    """Return the connected components of a bool mask as int32 labels 1.., 0 is background.

    The mask is [H, W] or [D, H, W]. Pixels are connected by their sides: objects that touch at a
    corner stay two. Nuclei do touch, and a merger loses both of them, while a small fragment costs
    a few pixels only.
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask.numpy(), output=labels)
    return from_array(labels)


def shape(
    truth: Tensor, instances: Tensor | None = None, counted: Tensor | None = None
) -> MaskShape:
    """Return sums that describe the coarseness of a true mask, bool [H, W].

    ``pairs`` counts the pairs of pixels that share a side, ``edges`` those with one pixel inside
    the mask and one outside: its perimeter, without the part on the image's border. With p the
    share of the mask, the correlation of neighbours is 1 − (edges/pairs) / (2p(1 − p)). ``objects``
    counts the instances (int32 [H, W], 0 is none) of the mask's pixels, or its :func:`components`
    where no instances are given. Pairs with a pixel that is not ``counted`` are left out.
    """
    which = torch.ones_like(truth) if counted is None else counted
    down, right = which[1:] & which[:-1], which[:, 1:] & which[:, :-1]
    edges = (down & (truth[1:] != truth[:-1])).sum()
    edges += (right & (truth[:, 1:] != truth[:, :-1])).sum()
    return {
        "edges": int(edges),
        "pairs": int(down.sum() + right.sum()),
        "objects": objects(truth, instances),
    }


def objects(truth: Tensor, instances: Tensor | None = None) -> int:
    """Return the number of instances of a mask's pixels, or of its components, in 2-D or 3-D."""
    labels = components(truth) if instances is None else instances * truth
    return len(np.unique(labels[labels > 0].numpy()))


def boundary_band(truth: Tensor, counted: Tensor | None = None, width: int = BAND) -> Tensor:
    """Return the pixels of a mask, bool [H, W], within ``width`` of a pixel of the other side.

    Distances are from centre to centre. The result is bool [H, W], empty for a mask with one side.
    Pixels that are not ``counted`` are on no side.
    """
    which = np.ones(truth.shape, bool) if counted is None else counted.numpy()
    inside, outside = truth.numpy() & which, ~truth.numpy() & which
    if not inside.any() or not outside.any():
        return torch.zeros_like(truth)
    band = np.zeros(inside.shape, bool)
    for side, other in ((inside, outside), (outside, inside)):
        band |= side & (np.asarray(ndimage.distance_transform_edt(~other)) <= width)
    return from_array(band)


def row(predicted: Tensor, truth: Tensor) -> InstanceSums:
    """Return counts and overlaps of predicted and true instances, int32, 0 is background.

    Two instances are matched where IoU > ½, which at most one pair per instance can reach
    (Kirillov et al. 2019, arXiv 1801.00868). For the aggregated Jaccard index (Kumar et al. 2017,
    IEEE TMI 36) every true instance is compared to the prediction of largest IoU, which several
    may share; true instances without an overlap and predictions that none chose add to the union.
    Equal IoUs are resolved by the first pixel in row-major order, and IoUs are summed exactly, so
    labels do not matter.
    """
    p, t = predicted.numpy().ravel(), truth.numpy().ravel()
    true_ids, true_areas = np.unique(t[t > 0], return_counts=True)
    predicted_ids, predicted_areas = np.unique(p[p > 0], return_counts=True)
    both = (t > 0) & (p > 0)
    pair = t[both].astype(np.int64) << 32 | p[both]
    pairs, first, overlap = np.unique(pair, return_index=True, return_counts=True)
    of_true = np.searchsorted(true_ids, pairs >> 32)
    of_predicted = np.searchsorted(predicted_ids, pairs & 0xFFFFFFFF)
    union = true_areas[of_true] + predicted_areas[of_predicted] - overlap
    iou = overlap / union
    matched = 2 * overlap > union

    order = np.lexsort((first, -iou, of_true))
    overlapped, first_of_each = np.unique(of_true[order], return_index=True)
    best = order[first_of_each]
    used = np.unique(of_predicted[best])
    missed = true_areas.sum() - true_areas[overlapped].sum()
    unused = predicted_areas.sum() - predicted_areas[used].sum()
    return {
        "true_instances": len(true_ids),
        "predicted_instances": len(predicted_ids),
        "matched": int(matched.sum()),
        "matched_iou_sum": math.fsum(iou[matched]),
        "aji_intersection": int(overlap[best].sum()),
        "aji_union": int(union[best].sum() + missed + unused),
    }

"""Objects in a mask: its shape, and how many of them a prediction found (``instances``)."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from trainables.schemas import BAND


def components(mask: Tensor) -> Tensor:
    """Connected components of a bool mask [H, W] as int32 labels 1.., with 0 for background.

    Pixels are connected by their sides: objects that touch at a corner stay two. Nuclei do touch,
    and a merger loses both of them, where a speck split off costs a few pixels.
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask.numpy(), output=labels)
    return torch.from_numpy(labels)


def shape(truth: Tensor, instances: Tensor | None = None) -> dict[str, int]:
    """Sums over a true mask, bool [H, W], that tell how coarse it is.

    Of all ``pairs`` of pixels that share a side, ``edges`` have one pixel in the mask and one out:
    its perimeter, without what lies on the image's border. With p the share of the mask, the
    correlation of neighbours is 1 − (edges/pairs) / (2p(1 − p)). ``objects`` are the instances
    (int32 [H, W], 0 is none) of the mask's pixels, or else its :func:`components`.
    """
    height, width = truth.shape
    edges = (truth[1:] != truth[:-1]).sum() + (truth[:, 1:] != truth[:, :-1]).sum()
    found = components(truth) if instances is None else instances * truth
    return {
        "edges": int(edges),
        "pairs": (height - 1) * width + height * (width - 1),
        "objects": len(found[found > 0].unique()),
    }


def boundary_band(truth: Tensor, width: int = BAND) -> Tensor:
    """The pixels of a mask, bool [H, W], that are at most ``width`` from one of the other side,
    centre to centre: bool [H, W], none where there is only one side.
    """
    inside = truth.numpy()
    if inside.all() or not inside.any():
        return torch.zeros_like(truth)
    apart = np.zeros(inside.shape)
    for side in (inside, ~inside):
        apart += np.asarray(ndimage.distance_transform_edt(side))
    return torch.from_numpy(apart <= width)


def row(predicted: Tensor, truth: Tensor) -> dict[str, int | float]:
    """Counts and overlaps of predicted and true instances, each int32 [H, W] with 0 background.

    Two instances are matched where IoU > ½, which at most one pair per instance can reach
    (Kirillov et al. 2019, arXiv 1801.00868). For the aggregated Jaccard index (Kumar et al. 2017,
    IEEE TMI 36) every true instance is compared to the prediction of largest IoU, which several
    may share; true instances that nothing overlaps and predictions that none chose are all union.
    Of equal IoUs the one met first, line by line, is chosen, and IoUs are summed exactly: labels do
    not matter.
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
    found, at = np.unique(of_true[order], return_index=True)
    best = order[at]
    used = np.unique(of_predicted[best])
    missed = true_areas.sum() - true_areas[found].sum()
    unused = predicted_areas.sum() - predicted_areas[used].sum()
    return {
        "true_instances": len(true_ids),
        "predicted_instances": len(predicted_ids),
        "matched": int(matched.sum()),
        "matched_iou_sum": math.fsum(iou[matched]),
        "aji_intersection": int(overlap[best].sum()),
        "aji_union": int(union[best].sum() + missed + unused),
    }

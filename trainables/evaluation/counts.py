"""Additive sums over pixels: confusion counts and the calibration histogram."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from trainables.rows import BinSums, PixelCounts
from trainables.schemas import BINS
from trainables.torch_calls import ints


def counts(predicted: Tensor, truth: Tensor) -> PixelCounts:
    """Return the confusion counts of one class; both masks are bool of the same shape."""
    tp = int((predicted & truth).sum())
    fp, fn = int(predicted.sum()) - tp, int(truth.sum()) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": truth.numel() - tp - fp - fn}


def histogram(p: Tensor, truth: Tensor) -> list[BinSums]:
    """Return the sums of the non-empty bins of a foreground probability.

    ``truth`` is bool and has the shape of ``p``.
    """
    p, y = p.flatten().double(), truth.flatten().double()
    # The mean of N members often equals the edge of a coarse bin; in single precision it may fall
    # just below.
    bins = (p * BINS + 1e-3).long().clamp(max=BINS - 1)
    kept = p.clamp(1e-7, 1 - 1e-7)  # so that a confident error has a finite cost
    sums = {
        "p_sum": p,
        "y_sum": y,
        "square_sum": (p - y).square(),
        "nll_sum": -torch.where(truth.flatten(), kept.log(), (1 - kept).log()),
    }
    count = torch.bincount(bins, minlength=BINS)
    binned = {k: torch.zeros(BINS).double().index_add_(0, bins, v) for k, v in sums.items()}
    filled = ints(count.nonzero().flatten())
    return [
        cast("BinSums", {"bin": b, "count": int(count[b])} | {k: float(binned[k][b]) for k in sums})
        for b in filled
    ]

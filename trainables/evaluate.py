"""From a trained network and held-out tiles to additive rows: pixel counts and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trainables import masks
from trainables.config import Config
from trainables.data import Tiles
from trainables.draws import generator
from trainables.models import Network
from trainables.record import DivergedError

BINS = 1200
"""Fine bins of the stored probability histogram: 10, 15 and 20 divide it, 1,000 they do not."""
TILES_AT_ONCE = 16

Row = dict[str, Any]


@torch.no_grad()
def probabilities(
    config: Config, network: Network, tiles: Tiles, device: str
) -> Iterator[tuple[Tiles, Tensor]]:
    """Tiles, a few at a time, with their class probabilities [n, M, H, W] on the CPU."""
    network.eval()
    for start in range(0, len(tiles.names), TILES_AT_ONCE):
        some = tiles[start : start + TILES_AT_ONCE]
        seeds = [generator(config.seed, case, "predict").initial_seed() for case in some.names]
        images = some.images.to(device, memory_format=torch.channels_last)
        p = config.mode.predict(network, images, config.mask_channels, seeds).cpu()
        if not p.isfinite().all():
            raise DivergedError("a predicted probability is not finite: the weights are broken")
        yield some, p


def counts(predicted: Tensor, truth: Tensor) -> Row:
    """Pixel counts of one class in one tile; both are bool."""
    tp = int((predicted & truth).sum())
    fp, fn = int(predicted.sum()) - tp, int(truth.sum()) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": truth.numel() - tp - fp - fn}


def histogram(p: Tensor, truth: Tensor) -> list[Row]:
    """Rows of the non-empty bins of a foreground probability; ``truth`` is bool, same shape."""
    p, y = p.flatten().double(), truth.flatten().double()
    bins = (p * BINS).long().clamp(max=BINS - 1)
    kept = p.clamp(1e-7, 1 - 1e-7)  # so that a confident error has a finite cost
    sums = {
        "p_sum": p,
        "y_sum": y,
        "square_sum": (p - y).square(),
        "nll_sum": -torch.where(truth.flatten(), kept.log(), (1 - kept).log()),
    }
    count = torch.bincount(bins, minlength=BINS)
    binned = {k: torch.zeros(BINS).double().index_add_(0, bins, v) for k, v in sums.items()}
    return [
        {"bin": b, "count": int(count[b]), **{k: float(v[b]) for k, v in binned.items()}}
        for b in count.nonzero().flatten().tolist()
    ]


def measure(
    config: Config, network: Network, tiles: Tiles, split: str, device: str
) -> tuple[list[Row], list[Row]]:
    """Rows of ``cases`` and of ``calibration``: one tile and foreground class each."""
    cases: list[Row] = []
    calibration: list[Row] = []
    for some, p_BMHW in probabilities(config, network, tiles, device):
        predicted = masks.to_labels(p_BMHW)
        p_foreground = masks.foreground(p_BMHW)
        for i, name in enumerate(some.names):
            for k, label in enumerate(config.task.classes[1:], start=1):
                key = {"split": split, "case": name, "group": some.groups[i], "class": label}
                truth = some.labels[i] == k
                cases.append({**key, **counts(predicted[i] == k, truth)})
                bins = histogram(p_foreground[i, k - 1], truth)
                calibration += [{**key, **row} for row in bins]
    return cases, calibration

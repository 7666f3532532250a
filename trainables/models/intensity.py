"""Intensity: class frequencies per grey level; the global-threshold and majority baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainables import masks
from trainables.models import Features, Model, Network, Output, Ports
from trainables.part import require


@dataclass(frozen=True)
class Intensity(Model):
    """Class frequencies per grey level, counted over the training pixels.

    Levels are quantiles of the mean over channels. Where the frequency rises or falls with the
    level this is the best global threshold; with ``levels=1`` it is the majority mask. No gradient
    step changes it, so ``train.steps`` must be 0.
    """

    denoises: ClassVar = False

    levels: int = 64
    """Quantiles of the grey level, each with its own class frequencies; 1: the majority class."""

    def __post_init__(self) -> None:
        require(self.levels >= 1, f"levels={self.levels} must be at least 1")

    @property
    def stride(self) -> int:
        return 1

    @property
    def learns(self) -> bool:
        return False

    def build(self, ports: Ports) -> Network:
        return LevelTable(self.levels, ports.out)


class LevelTable(Network):
    """A look-up table from grey level to class logits."""

    def __init__(self, levels: int, out_channels: int) -> None:
        super().__init__()
        self.edges: Tensor
        self.table: Tensor
        self.register_buffer("edges", torch.zeros(levels - 1))
        self.register_buffer("table", torch.zeros(levels, out_channels))

    def fit(self, images_BCHW: Tensor, labels_BHW: Tensor) -> None:
        counts = masks.counted(labels_BHW).flatten()
        grey = images_BCHW.mean(1).flatten()[counts]
        levels, out = self.table.shape
        quantiles = torch.linspace(0, 1, levels + 1)[1:-1]
        self.edges.copy_(torch.quantile(thinned(grey), quantiles))
        classes = 2 if out == 1 else out
        y = masks.to_channels(labels_BHW, classes).movedim(1, -1).reshape(-1, out)[counts]
        level = torch.bucketize(grey, self.edges)
        hits = torch.zeros_like(self.table).index_add_(0, level, y)
        count = torch.bincount(level, minlength=levels).clamp(min=1)
        self.table.copy_(masks.logits_of(hits / count[:, None], least=1e-4))

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        level = torch.bucketize(image_BCHW.mean(1), self.edges)
        return Output(self.table[level].movedim(-1, 1))


def thinned(values: Tensor) -> Tensor:
    """Return every n-th value, so that a quantile over all pixels stays cheap."""
    return values[:: max(1, len(values) // 1_000_000)]

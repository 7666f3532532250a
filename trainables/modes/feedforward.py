"""Feed-forward: the same network segments in one pass; mask channel zero, t = 0, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables import masks
from trainables.models import Network
from trainables.modes import Batch, Mode
from trainables.part import require


@dataclass(frozen=True)
class FeedForward(Mode):
    """The default twin: cross-entropy plus ``dice_weight`` × soft Dice loss on the logits."""

    dice_weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.dice_weight >= 0, f"dice_weight={self.dice_weight} must not be negative")

    @property
    def passes(self) -> int:
        return 1

    def loss(self, network: Network, batch: Batch) -> Tensor:
        logits = segment(network, batch.images_BCHW, batch.masks_BMHW.shape[1])
        dice = masks.soft_dice_loss(logits, batch.masks_BMHW)
        return masks.cross_entropy(logits, batch.masks_BMHW) + self.dice_weight * dice

    def predict(
        self, network: Network, images_BCHW: Tensor, mask_channels: int, seeds: Sequence[int]
    ) -> Tensor:
        return masks.probabilities(segment(network, images_BCHW, mask_channels))


def segment(network: Network, images_BCHW: Tensor, mask_channels: int) -> Tensor:
    """One pass with nothing known of the mask: logits [B, M, H, W]."""
    batch, _, height, width = images_BCHW.shape
    nothing = torch.zeros(batch, mask_channels, height, width, device=images_BCHW.device)
    return network(nothing, torch.zeros(batch, device=images_BCHW.device), images_BCHW)

"""Feed-forward: the same network segments in one pass; mask channel zero, t = 0, logits out."""

from __future__ import annotations

from dataclasses import dataclass

from trainables import masks
from trainables.segmenter import Segmenter


@dataclass(frozen=True)
class FeedForward(Segmenter):
    """The default twin: same module and parameters as the one-hot diffusion network."""

    def mask_channels(self, classes: int) -> int:
        return masks.channels(classes)

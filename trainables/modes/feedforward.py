"""Feed-forward: the network of diffusion segments in one pass, with mask channel zero and t = 0."""

from __future__ import annotations

from dataclasses import dataclass

from trainables import masks
from trainables.segmenter import Segmenter


@dataclass(frozen=True)
class FeedForward(Segmenter):
    """The twin with the same module and parameters as the one-hot diffusion network."""

    def mask_channels(self, classes: int) -> int:
        return masks.channels(classes)

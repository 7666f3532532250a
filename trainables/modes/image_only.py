"""Image-only: the architecture without its mask channel and time branch, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.segmenter import Segmenter


@dataclass(frozen=True)
class ImageOnly(Segmenter):
    """The plain segmentation network that the denoiser was made of."""

    def mask_channels(self, classes: int) -> int:
        return 0

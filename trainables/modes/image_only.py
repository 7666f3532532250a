"""Image-only: the architecture without mask channel and time branch segments in one pass."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.segmenter import Segmenter


@dataclass(frozen=True)
class ImageOnly(Segmenter):
    """The plain segmentation network from which the denoiser was derived."""

    def mask_channels(self, classes: int) -> int:
        return 0

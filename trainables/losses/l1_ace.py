"""mL1-ACE: marginal L1 average calibration error of each image, as an auxiliary loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables import masks
from trainables.losses import Loss
from trainables.part import require

LEAST = 0.01
"""Pixels below which a soft bin counts as empty."""


@dataclass(frozen=True)
class L1ACE(Loss):
    """Mean over classes and non-empty bins of |mean p − mean y| (Barfoot et al., arXiv 2506.03942).

    The ``bins`` have equal width and equal weight, so that the many confident pixels do not hide
    the uncertain ones. With ``hard`` bins each pixel belongs to one, and the gradient moves its
    probability only. With ``soft`` bins it is shared linearly between the two bins whose centres
    are nearest, and the gradient moves the shares too. A class that an image does not have adds
    nothing.
    """

    bins: int = 20
    """Bins of the probability."""
    binning: Literal["hard", "soft"] = "hard"
    """Whether a pixel belongs to one bin, or is shared between neighbouring bins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bins >= 1, f"bins={self.bins} must be at least 1")

    def value(self, p_BMHW: Tensor, mask_BMHW: Tensor, labels_BHW: Tensor) -> Tensor:
        counted = masks.counted(labels_BHW).flatten(1)[:, None].float()
        p, y = p_BMHW.float().flatten(2), mask_BMHW.float().flatten(2)
        gaps: list[Tensor] = []
        filled: list[Tensor] = []
        for b in range(self.bins):
            share = self._share(p, b) * counted
            count = share.sum(2)
            gaps.append((share * (p - y)).sum(2).abs() / count.clamp(min=LEAST))
            filled.append(count >= LEAST)
        which = torch.stack(filled, 2)
        gap = torch.stack(gaps, 2).masked_fill(~which, 0)
        error = gap.sum(2) / which.sum(2).clamp(min=1)
        present = (y * counted).sum(2) > 0
        return error.masked_fill(~present, 0).mean(1)

    def _share(self, p: Tensor, b: int) -> Tensor:
        """Return how much of each pixel belongs to bin ``b``; hard bins contain their upper end."""
        if self.binning == "hard":
            place = ((p.detach() * self.bins).ceil() - 1).clamp(0, self.bins - 1)
            return (place == b).float()
        first, last = 0.5 / self.bins, 1 - 0.5 / self.bins
        centre = (b + 0.5) / self.bins
        return (1 - (p.clamp(first, last) - centre).abs() * self.bins).clamp(min=0)

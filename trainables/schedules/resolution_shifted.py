"""Resolution-shifted: another schedule with more noise for larger images (simple diffusion)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor

from trainables.parsing import parse_part
from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class ResolutionShifted(Schedule):
    """λ(t) = λ_base(t) + 2 log(reference/size) (Hoogeboom et al. 2023, arXiv 2301.11093).

    At ``size`` pixels a side, averaging down to ``reference`` pixels a side leaves the signal-to-
    noise ratio of ``base``. The ends of the schedule are shifted too.
    """

    base: Schedule = field(
        default_factory=lambda: cast("Schedule", parse_part("schedules", "cosine"))
    )
    """The schedule that is changed."""
    size: int = 128
    """The side of the images, in pixels."""
    reference: int = 64
    """The side of the images that the base is made for, in pixels."""

    def __post_init__(self) -> None:
        require(self.size >= 1, f"size={self.size} must be at least 1")
        require(self.reference >= 1, f"reference={self.reference} must be at least 1")

    def log_snr(self, t: Tensor) -> Tensor:
        return self.base.log_snr(t) + 2 * math.log(self.reference / self.size)

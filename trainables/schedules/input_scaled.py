"""Input-scaled: another schedule with the clean mask multiplied by a factor (Chen 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor

from trainables.parsing import parse_part
from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class InputScaled(Schedule):
    """λ(t) = λ_base(t) + 2 log(scale) (Chen 2023, arXiv 2301.10972).

    Multiplying x0 by ``scale`` and dividing α·scale·x0 + σ·ε by its standard deviation gives the
    variance-preserving process with this λ. The paper's log b refers to the amplitude, hence the
    factor 2. The ends of the schedule are shifted too.
    """

    base: Schedule = field(
        default_factory=lambda: cast("Schedule", parse_part("schedules", "cosine"))
    )
    """The schedule that is changed."""
    scale: float = 0.5
    """The factor b of the input: λ changes by 2 ln b."""

    def __post_init__(self) -> None:
        require(self.scale > 0, f"scale={self.scale} must be positive")

    def log_snr(self, t: Tensor) -> Tensor:
        return self.base.log_snr(t) + 2 * math.log(self.scale)

"""Samplers: from noise to a mask by repeated denoising, one file each."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from trainables.part import Part
from trainables.schedules import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_BMHW, t_B) to the estimate of x0, [B, M, H, W]: one network pass."""

Noise = Callable[[], Tensor]
"""The next standard normal draw for the batch, [B, M, H, W], seeded per case and member."""


class Sampler(Part):
    """Walks from t_high down to t_low and returns the last estimate of x0."""

    kind: ClassVar[str] = "samplers"

    @property
    @abc.abstractmethod
    def passes(self) -> int:
        """Network passes per sample."""

    @abc.abstractmethod
    def sample(
        self, denoise: Denoise, noise: Noise, schedule: Schedule, t_high: float, t_low: float
    ) -> Tensor:
        """The final estimate of x0, [B, M, H, W], in the encoding's units."""

"""The interface of noise schedules."""

from __future__ import annotations

import abc
from typing import ClassVar

import torch
from torch import Tensor

from trainables.part import Part


class Schedule(Part):
    """λ(t) = log(α²/σ²) on t ∈ [0, 1], strictly decreasing and finite at both ends.

    All schedules are variance preserving: α² = sigmoid(λ), σ² = sigmoid(−λ) (Kingma et al. 2021,
    arXiv 2107.00630, section 3).
    """

    kind: ClassVar[str] = "schedules"

    @abc.abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """Return λ at each time. ``t`` is float64 in [0, 1]; the result has its shape."""

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t at which the schedule has this λ, by bisection to 2⁻⁶⁰; float64."""
        low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
        for _ in range(60):
            middle = (low + high) / 2
            noisier = self.log_snr(middle) < log_snr
            high = torch.where(noisier, middle, high)
            low = torch.where(noisier, low, middle)
        return (low + high) / 2

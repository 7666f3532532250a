"""Sigmoid: the signal power falls along a part of the logistic curve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """γ(t) of Chen 2023 (arXiv 2301.10972, algorithm 1), γ = α², between ``start`` and ``end``.

    γ reaches 1 and 0 at the ends, where λ is infinite; it is mapped affinely into the interval
    whose ends are λ = ±``span``, which keeps it strictly monotone where clipping would not.
    """

    start: float = -3.0
    """The argument of the sigmoid at t = 0."""
    end: float = 3.0
    """The argument of the sigmoid at t = 1."""
    temperature: float = 1.0
    """The sigmoid's argument is divided by it."""
    span: float = 10.0
    """λ runs from span to −span."""

    def __post_init__(self) -> None:
        require(self.start < self.end, f"start={self.start} must be below end={self.end}")
        require(self.temperature > 0, f"temperature={self.temperature} must be positive")
        require(0 < self.span <= 30, f"span={self.span} must lie in (0, 30]")
        require(
            max(-self.start, self.end) <= 30 * self.temperature,
            f"temperature={self.temperature} must be 1/30 of start={self.start} and end={self.end}"
            " or more: the curve is flat beyond",
        )

    def log_snr(self, t: Tensor) -> Tensor:
        def logistic(x: Tensor | float) -> Tensor:
            return torch.sigmoid(torch.as_tensor(x, dtype=torch.float64) / self.temperature)

        first, last = logistic(self.start), logistic(self.end)
        here = logistic(self.start + t * (self.end - self.start))
        gamma = (last - here) / (last - first)
        noisiest, cleanest = torch.sigmoid(torch.tensor([-self.span, self.span]).double())
        return torch.logit(noisiest + (cleanest - noisiest) * gamma)

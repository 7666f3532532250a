"""Tabulated: λ is piecewise linear through given points, as in an adapted schedule."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.part import require
from trainables.schedules import Schedule


@dataclass(frozen=True)
class Tabulated(Schedule):
    """λ(t) is piecewise linear through the points (``times``, ``log_snrs``).

    λ at uniform times has a piecewise constant density, so a histogram over λ becomes a schedule
    whose times are the cumulative shares at the bin edges, from the cleanest bin on.
    """

    times: tuple[float, ...] = (0.0, 1.0)
    """Times from 0 to 1, rising."""
    log_snrs: tuple[float, ...] = (10.0, -10.0)
    """λ at these times, falling."""

    def __post_init__(self) -> None:
        require(
            len(self.times) == len(self.log_snrs) >= 2,
            f"times has {len(self.times)} and log_snrs {len(self.log_snrs)} values:"
            " they must have equally many, at least 2",
        )
        require(
            self.times[0] == 0 and self.times[-1] == 1,
            f"times={self.times} must begin at 0 and end at 1",
        )
        require(
            all(a < b for a, b in itertools.pairwise(self.times)),
            f"times={self.times} must rise strictly",
        )
        require(
            all(a > b for a, b in itertools.pairwise(self.log_snrs)),
            f"log_snrs={self.log_snrs} must fall strictly",
        )

    @functools.cached_property
    def _points(self) -> Tensor:
        """The times and the λ at them: [2, points], float64."""
        return torch.tensor([self.times, self.log_snrs], dtype=torch.float64)

    def log_snr(self, t: Tensor) -> Tensor:
        times, levels = self._points
        above = torch.bucketize(t.contiguous(), times).clamp(1, len(times) - 1)
        begin, end = times[above - 1], times[above]
        return torch.lerp(levels[above - 1], levels[above], (t - begin) / (end - begin))

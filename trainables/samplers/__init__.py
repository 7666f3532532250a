"""Samplers: from noise to a mask by repeated denoising, one file each."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from trainables.diffusion import as_images
from trainables.part import Part, require
from trainables.schedules import Schedule


class Estimate(NamedTuple):
    """What one network pass tells about a noisy mask."""

    x0: Tensor
    """[B, M, H, W], in the encoding's units."""
    range: Tensor | None = None
    """Where the variance of the step lies between its bounds: 0 is the posterior's variance, 1 the
    forward step's, on a logarithmic scale; [B, M, H, W], from a learned-range head only."""


class Visit(NamedTuple):
    """A noise level that the walk has been at, and the estimate made there."""

    log_snr: Tensor
    """[1], float64."""
    estimate: Estimate


Denoise = Callable[[Tensor, Tensor], Estimate]
"""(x_BMHW, t_B) to an estimate: one network pass."""

Noise = Callable[[], Tensor]
"""The next standard normal draw for the batch, [B, M, H, W], seeded per case and member."""


def on(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Makes a coefficient [B], computed in float64 on the CPU, ready to multiply images like x."""
    return lambda value: as_images(value).to(x.device)


@dataclass(frozen=True)
class Sampler(Part):
    """Walks down a grid of times and returns the last estimate of x0.

    The grid has ``steps`` times, evenly spaced in t or in λ from the noisiest one; the clean end is
    not visited, for the estimate made one step before it is the sample.
    """

    kind: ClassVar[str] = "samplers"

    steps: int = 10
    spacing: Literal["t", "log_snr"] = "t"

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps={self.steps} must be at least 1")

    @property
    def passes(self) -> int:
        """Network passes per sample."""
        return self.steps

    def grid(self, schedule: Schedule, t_high: float, t_low: float) -> Tensor:
        """The times to visit: [steps], falling, float64."""
        ends = torch.tensor([t_high, t_low], dtype=torch.float64)
        if self.spacing == "t":
            return torch.linspace(t_high, t_low, self.steps + 1, dtype=torch.float64)[:-1]
        first, last = schedule.log_snr(ends).tolist()
        levels = torch.linspace(first, last, self.steps + 1, dtype=torch.float64)[:-1]
        return torch.cat([ends[:1], schedule.time(levels[1:])])

    def sample(
        self, denoise: Denoise, x: Tensor, noise: Noise, schedule: Schedule, times: Tensor
    ) -> Tensor:
        """The last estimate of x0, [B, M, H, W]; ``x`` is the noisy mask at ``times[0]``."""
        log_snr = schedule.log_snr(times)
        before: Visit | None = None
        here = Visit(log_snr[:1], denoise(x, times[:1].expand(len(x)).to(x.device)))
        for i in range(1, len(times)):
            x = self.advance(x, here, before, log_snr[i : i + 1], noise)
            before = here
            estimate = denoise(x, times[i : i + 1].expand(len(x)).to(x.device))
            here = Visit(log_snr[i : i + 1], estimate)
        return here.estimate.x0

    @abc.abstractmethod
    def advance(
        self, x: Tensor, here: Visit, before: Visit | None, there: Tensor, noise: Noise
    ) -> Tensor:
        """The noisy mask at a larger λ, ``there`` [1]; ``before`` is the visit before ``here``."""

"""The interface of samplers, and the grid of noise levels that all of them walk down."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from trainables.interfaces.schedule import Schedule
from trainables.part import Part, require
from trainables.torch_calls import floats


class Estimate(NamedTuple):
    """The output of one denoising pass."""

    x0: Tensor
    """[B, M, H, W], in the encoding's units."""
    range: Tensor | None = None
    """Where the variance of the step lies between its bounds, on a logarithmic scale: 0 is the
    variance of the posterior, 1 that of the forward step. [B, M, H, W]; None unless the network
    learns the variance."""


class Visit(NamedTuple):
    """A noise level on the sampler's path, and the estimate made there."""

    log_snr: Tensor
    """[1], float64."""
    estimate: Estimate


Denoise = Callable[[Tensor, Tensor], Estimate]
"""One network pass: (x_BMHW, t_B) to an estimate."""

Noise = Callable[[], Tensor]
"""Returns the next standard normal draw for the batch, [B, M, H, W], seeded per case and member."""


@dataclass(frozen=True)
class Sampler(Part):
    """A walk down a grid of times that returns its last estimate of x0.

    The grid has ``steps`` times, evenly spaced in t or in λ from the noisiest one. It does not
    contain the clean end: the estimate made one step before it is the sample.
    """

    kind: ClassVar[str] = "samplers"

    steps: int = 10
    """Sampling steps."""
    spacing: Literal["t", "log_snr"] = "t"
    """Whether the steps are evenly spaced in t or in the log-SNR."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps={self.steps} must be at least 1")

    @property
    def passes(self) -> int:
        """Network passes per sample."""
        return self.steps

    def grid(self, schedule: Schedule, t_high: float, t_low: float) -> Tensor:
        """Return the times to visit: [steps], falling, float64."""
        ends = torch.tensor([t_high, t_low], dtype=torch.float64)
        if self.spacing == "t":
            return torch.linspace(t_high, t_low, self.steps + 1, dtype=torch.float64)[:-1]
        first, last = floats(schedule.log_snr(ends))
        levels = torch.linspace(first, last, self.steps + 1, dtype=torch.float64)[:-1]
        return torch.cat([ends[:1], schedule.time(levels[1:])])

    def sample(
        self, denoise: Denoise, x: Tensor, noise: Noise, schedule: Schedule, times: Tensor
    ) -> Tensor:
        """Return the last estimate of x0, [B, M, H, W]; ``x`` is the noisy mask at ``times[0]``."""
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
        """Return the noisy mask at the larger λ ``there`` [1], one step after ``here``.

        ``before`` is the visit before ``here``, None at the first step.
        """

"""The interface of samplers, and the grid of noise levels that all of them walk down."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.interfaces.schedule import Schedule
from trainables.part import Part, require
from trainables.part_fields import later
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
"""One network pass: (x_BMHW, t_B) to an estimate; the times are on the CPU."""

Noise = Callable[[], Tensor]
"""Returns the next standard normal draw for the batch, [B, M, H, W], seeded per case and member."""


@dataclass(frozen=True)
class Sampler(Part):
    """A walk down a grid of times that returns its last estimate of x0.

    The grid has ``steps`` times, evenly spaced from the noisiest one: in t, in λ, or in the
    information of the image, whose λ at equal shares are the ``quantiles`` of a fingerprint
    (compare the entropic time of arXiv 2504.13612). It does not contain the clean end: the estimate
    made one step before it is the sample.
    """

    kind: ClassVar[str] = "samplers"

    steps: int = 10
    """Sampling steps."""
    spacing: Literal["t", "log_snr", "information"] = "t"
    """Whether the steps are evenly spaced in t, in the log-SNR, or in ``quantiles``."""
    quantiles: tuple[float, ...] = later(())
    """λ between equal shares of the image's information, rising, for ``spacing: information``."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps={self.steps} must be at least 1")
        require(
            (self.spacing == "information") == (len(self.quantiles) > 0),
            f"quantiles={self.quantiles} must be given with spacing='information' and with no other"
            f" spacing (it is {self.spacing!r}); `segprint adapt` writes those of a fingerprint",
        )
        require(
            len(self.quantiles) != 1 and all(a < b for a, b in pairwise(self.quantiles)),
            f"quantiles={self.quantiles} must be at least two λ that rise strictly",
        )

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
        levels = torch.linspace(first, last, self.steps + 1, dtype=torch.float64)
        if self.spacing == "information":
            shares = np.linspace(0, 1, len(self.quantiles))
            begin, end = np.interp([first, last], self.quantiles, shares)
            at = np.linspace(begin, end, self.steps + 1)
            levels = torch.as_tensor(np.interp(at, shares, self.quantiles))
        return torch.cat([ends[:1], schedule.time(levels[1:-1])])

    def check_range(self, schedule: Schedule, t_high: float, t_low: float) -> None:
        """Refuse quantiles that do not overlap the range of λ that is sampled."""
        if not self.quantiles:
            return
        first, last = floats(schedule.log_snr(torch.tensor([t_high, t_low], dtype=torch.float64)))
        require(
            self.quantiles[0] < last and self.quantiles[-1] > first,
            f"quantiles from λ = {self.quantiles[0]:g} to {self.quantiles[-1]:g} must overlap the"
            f" sampled range, {first:g} to {last:g}",
        )

    def sample(
        self, denoise: Denoise, x: Tensor, noise: Noise, schedule: Schedule, times: Tensor
    ) -> Tensor:
        """Return the last estimate of x0, [B, M, H, W]; ``x`` is the noisy mask at ``times[0]``."""
        log_snr = schedule.log_snr(times)
        before: Visit | None = None
        here = Visit(log_snr[:1], denoise(x, times[:1].expand(len(x))))
        for i in range(1, len(times)):
            x = self.advance(x, here, before, log_snr[i : i + 1], noise)
            before = here
            estimate = denoise(x, times[i : i + 1].expand(len(x)))
            here = Visit(log_snr[i : i + 1], estimate)
        return here.estimate.x0

    @abc.abstractmethod
    def advance(
        self, x: Tensor, here: Visit, before: Visit | None, there: Tensor, noise: Noise
    ) -> Tensor:
        """Return the noisy mask at the larger λ ``there`` [1], one step after ``here``.

        ``before`` is the visit before ``here``, None at the first step.
        """

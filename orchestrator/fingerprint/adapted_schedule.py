"""From one trained model's fingerprint: which timesteps matter, and a schedule that spends them.

What is learnt of a noise level costs a share of the timesteps; the fingerprint says at which levels
the image tells anything. The schedule made here has a density over λ that follows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.fingerprint import density
from orchestrator.fingerprint.probes import Probed
from orchestrator.statistics.bootstrap import Array

INSIDE = 0.99
"""Of the image's information: what the range holds, half of the rest on either side."""
FLOOR = 0.1
"""Of the timesteps: what is spread evenly over λ, so that no level is left out."""


@dataclass(frozen=True)
class Adapted:
    """What follows from a fingerprint: rows that have every stratum of λ."""

    probed: Probed

    @cached_property
    def bits(self) -> Array:
        """The image's information in each stratum, bits per pixel, by the second estimator."""
        widths = np.diff(self.probed.edges)
        return self.probed.curves["information_orthogonal"].mean(0) * widths

    @property
    def half(self) -> float:
        """The λ below which half of it lies."""
        return float(density.quantile(self.bits, self.probed.edges))

    @property
    def log_snr(self) -> tuple[float, float]:
        """The λ between which :data:`INSIDE` of it lies."""
        rest = (1 - INSIDE) / 2
        low, high = (density.quantile(self.bits, self.probed.edges, q) for q in (rest, 1 - rest))
        return float(low), float(high)

    @property
    def trained(self) -> dict[str, Any]:
        """The schedule that the model was trained with, in plain form."""
        spec = self.probed.config["mode"]["diffusion"].get("schedule", "linear")
        return {spec: {}} if isinstance(spec, str) else spec

    @property
    def times(self) -> tuple[float, float]:
        """The same range in the t of that schedule, rounded outwards."""
        low, high = self.log_snr
        begin, end = time_of(self.trained, high), time_of(self.trained, low)
        return math.floor(begin * 1e4) / 1e4, math.ceil(end * 1e4) / 1e4

    @property
    def schedule(self) -> dict[str, Any]:
        """A tabulated schedule with the information's density over λ, but for the floor."""
        return tabulated(self.bits, self.probed.edges)

    @property
    def root_schedule(self) -> dict[str, Any]:
        """The same with the root of the density's second moment over cases.

        Levels drawn in proportion to it estimate the area with the least variance (importance
        sampling; Hesterberg 1995 mixes in a floor for the same reason).
        """
        square = (self.probed.curves["information_orthogonal"] ** 2).mean(0)
        return tabulated(np.sqrt(square) * np.diff(self.probed.edges), self.probed.edges)

    def spent(self, schedule: dict[str, Any]) -> float:
        """The share of a whole schedule's timesteps within :attr:`log_snr`."""
        low, high = self.log_snr
        return time_of(schedule, low) - time_of(schedule, high)


def tabulated(areas: Array, edges: Array) -> dict[str, Any]:
    """The plain form of a schedule over all edges [strata + 1] that spends t as areas [strata] are.

    Each stratum of λ gets (1 − FLOOR) of its share of the area, and FLOOR of its share of the axis.
    """
    widths = np.diff(edges)
    share = (1 - FLOOR) * areas / areas.sum() + FLOOR * widths / widths.sum()
    times = np.concatenate([[0.0], np.cumsum(share[::-1])]).round(6)
    times[-1] = 1.0
    return {"tabulated": {"times": times.tolist(), "log_snrs": edges[::-1].round(6).tolist()}}


def time_of(schedule: dict[str, Any], log_snr: float) -> float:
    """The t at which a schedule in plain form has this λ; an end of [0, 1] beyond its span."""
    import torch  # a second to import

    from trainables.part import parse_part
    from trainables.schedules import Schedule

    part = parse_part("schedules", schedule)
    assert isinstance(part, Schedule)
    return float(part.time(torch.tensor(log_snr, dtype=torch.float64)))

"""A noise schedule derived from the fingerprint of one trained model.

Learning about a noise level costs a share of the timesteps; the fingerprint shows at which levels
the image is informative. The density of the schedule over λ follows the density of information.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.fingerprint import density
from orchestrator.fingerprint.probes import ProbeCurves
from orchestrator.statistics.bootstrap import Array

INSIDE = 0.99
"""Share of the image's information within the range; half of the rest lies on either side."""
FLOOR = 0.1
"""Share of the timesteps that is spread evenly over λ, so that no level is left out."""
SHARES = 16
"""Equal shares of the information whose limits are the quantiles for sampling."""


@dataclass(frozen=True)
class Adapted:
    """The schedules and ranges that follow from one fingerprint over λ, of complete rows."""

    probe: ProbeCurves

    @cached_property
    def bits(self) -> Array:
        """The image's information in each stratum, bits per pixel, by the second estimator."""
        widths = np.diff(self.probe.edges)
        return self.probe.curves["information_orthogonal"].mean(0) * widths

    @property
    def half(self) -> float:
        """The λ below which half of the information lies."""
        return float(density.quantile(self.bits, self.probe.edges))

    @property
    def log_snr(self) -> tuple[float, float]:
        """The range of λ that holds :data:`INSIDE` of the information."""
        rest = (1 - INSIDE) / 2
        low, high = (density.quantile(self.bits, self.probe.edges, q) for q in (rest, 1 - rest))
        return float(low), float(high)

    @property
    def trained(self) -> dict[str, Any]:
        """The schedule that the model was trained with, in plain form."""
        spec = self.probe.final.mode_settings.get("schedule", "linear")
        return {spec: {}} if isinstance(spec, str) else spec

    @property
    def times(self) -> tuple[float, float]:
        """The same range in the t of that schedule, rounded outwards to four digits."""
        low, high = self.log_snr
        begin, end = time_of(self.trained, high), time_of(self.trained, low)
        return math.floor(begin * 1e4) / 1e4, math.ceil(end * 1e4) / 1e4

    @property
    def schedule(self) -> dict[str, Any]:
        """A tabulated schedule with the density of the information over λ, above the floor."""
        return tabulated(self.bits, self.probe.edges)

    @property
    def root_schedule(self) -> dict[str, Any]:
        """A tabulated schedule with the root of the density's second moment over cases.

        Noise levels drawn in proportion to it estimate the area with the least variance
        (importance sampling; Hesterberg 1995 mixes in a floor for the same reason).
        """
        square = (self.probe.curves["information_orthogonal"] ** 2).mean(0)
        return tabulated(np.sqrt(square) * np.diff(self.probe.edges), self.probe.edges)

    @property
    def mask_schedule(self) -> dict[str, Any]:
        """A tabulated schedule with the density of all information about the mask over λ.

        That density is half the error of ε under the image: the information of the noisy mask about
        the mask (I-MMSE). InfoNoise (arXiv 2602.18647) follows it during training; here it is that
        of the trained network.
        """
        widths = np.diff(self.probe.edges)
        return tabulated(self.probe.curves["eps_error"].mean(0) * widths, self.probe.edges)

    @property
    def quantiles(self) -> list[float]:
        """The λ between :data:`SHARES` equal shares of the information, rising.

        Strata without information are passed at once, so limits may be arbitrarily close.
        """
        edges: Array = self.probe.edges
        areas = self.bits + 1e-9 * self.bits.sum()
        shares = np.arange(SHARES + 1) / SHARES
        return [round(float(density.quantile(areas, edges, share)), 6) for share in shares.tolist()]

    def spent(self, schedule: dict[str, Any]) -> float:
        """The share of the timesteps of a schedule that lies within :attr:`log_snr`."""
        low, high = self.log_snr
        return time_of(schedule, low) - time_of(schedule, high)


def tabulated(areas: Array, edges: Array) -> dict[str, Any]:
    """The plain form of a schedule that spends t in proportion to areas.

    ``areas`` are [strata], ``edges`` of λ [strata + 1]. Each stratum gets (1 − FLOOR) of its share
    of the total area and FLOOR of its share of the axis.
    """
    widths = np.diff(edges)
    share = (1 - FLOOR) * areas / areas.sum() + FLOOR * widths / widths.sum()
    times = np.concatenate([[0.0], np.cumsum(share[::-1])]).round(6)
    times[-1] = 1.0
    return {"tabulated": {"times": times.tolist(), "log_snrs": edges[::-1].round(6).tolist()}}


def time_of(schedule: dict[str, Any], log_snr: float) -> float:
    """The t at which a schedule in plain form has a λ; 0 or 1 for a λ outside its span."""
    import torch  # takes a second to import

    from trainables.parsing import parse_part
    from trainables.schedules import Schedule

    part = parse_part("schedules", schedule)
    assert isinstance(part, Schedule)
    return float(part.time(torch.tensor(log_snr, dtype=torch.float64)))

"""Numbers with their 95 % intervals, and how they are computed from mean curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.levels import FEWEST_UNITS

Curves = Mapping[str, Array]
"""Mean curves by name: [..., strata]; axes before the last are resamples."""
Method = Literal["bootstrap-t", "percentile", "t"]
"""How an interval is computed: ``bootstrap-t`` of a mean
(:mod:`orchestrator.statistics.small_samples`), ``percentile`` of any other number
(:mod:`orchestrator.statistics.bootstrap`), ``t`` for Student's of a mean over tasks."""
Columns = dict[str, float | str | None]


class Estimate(NamedTuple):
    """A number with the ends of its 95 % interval; all three are NaN where it is undefined.

    The ends alone are NaN where there is too little data for an interval.
    """

    value: float
    low: float
    high: float
    method: Method

    @staticmethod
    def from_resamples(value: float, resampled: Array) -> Estimate:
        """Return the value with the percentile interval of its finite resamples: [resamples]."""
        known = resampled[np.isfinite(resampled)]
        if not np.isfinite(value) or not len(known):
            return UNKNOWN
        low, high = bootstrap.interval(known)
        return Estimate(float(value), float(low), float(high), "percentile")

    @staticmethod
    def without_interval(value: float) -> Estimate:
        """Return a value from too little data for an interval."""
        return Estimate(value, np.nan, np.nan, "percentile")

    def within(self, least: float, most: float) -> Estimate:
        """The estimate with the ends of its interval limited to the values that are possible."""
        low, high = np.clip([self.low, self.high], least, most)
        return self._replace(low=float(low), high=float(high))

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and the upper end of the interval."""
        return self.low, self.high

    @property
    def known(self) -> bool:
        """Whether the number is defined."""
        return not np.isnan(self.value)

    def columns(self, name: str) -> Columns:
        """``NAME``, ``NAME_low``, ``NAME_high`` and ``NAME_method``; None where undefined."""
        known = not np.isnan(self.low)
        return {
            name: self.value if self.known else None,
            f"{name}_low": self.low if known else None,
            f"{name}_high": self.high if known else None,
            f"{name}_method": self.method if known else None,
        }


def known(number: float | None) -> float | None:
    """The number, or None where it is NaN."""
    return None if number is None or np.isnan(number) else float(number)


UNKNOWN = Estimate(np.nan, np.nan, np.nan, "percentile")
"""A number that is undefined."""


def of_means(
    values: Curves,
    weights: Array,
    units: NDArray[np.int64],
    numbers: Callable[[Curves], dict[str, Array]],
) -> dict[str, Estimate]:
    """Estimates of numbers that are functions of mean curves, by name.

    ``values`` are [rows, ...] by name, ``weights`` [resamples, rows]
    (:func:`orchestrator.statistics.bootstrap.weights`) of ``units``, [rows]; a single unit gives no
    interval. ``numbers`` maps mean curves to numbers and must keep leading axes.
    """
    point = numbers({name: rows.mean(0) for name, rows in values.items()})
    if len(np.unique(units)) < FEWEST_UNITS:
        return {name: Estimate.without_interval(float(value)) for name, value in point.items()}
    total = weights.sum(1)
    resampled = numbers(
        {
            name: (weights @ rows.reshape(len(rows), -1) / total[:, None]).reshape(
                -1, *rows.shape[1:]
            )
            for name, rows in values.items()
        }
    )
    return {
        name: Estimate.from_resamples(float(value), resampled[name])
        for name, value in point.items()
    }


def columns(estimates: Mapping[str, Estimate]) -> Columns:
    """The columns of several estimates together."""
    return {
        column: value
        for name, estimate in estimates.items()
        for column, value in estimate.columns(name).items()
    }

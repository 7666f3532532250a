"""Numbers with their 95 % bootstrap intervals, and how they are computed from mean curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array

Curves = Mapping[str, Array]
"""Mean curves by name: [..., strata]; axes before the last are resamples."""


class Estimate(NamedTuple):
    """A number with the ends of its 95 % interval; all three are NaN where it is undefined."""

    value: float
    low: float
    high: float

    @staticmethod
    def from_resamples(value: float, resampled: Array) -> Estimate:
        """Return the value with the percentile interval of its finite resamples: [resamples]."""
        known = resampled[np.isfinite(resampled)]
        if not np.isfinite(value) or not len(known):
            return Estimate(np.nan, np.nan, np.nan)
        low, high = bootstrap.interval(known)
        return Estimate(float(value), float(low), float(high))

    @property
    def known(self) -> bool:
        """Whether the number is defined."""
        return not np.isnan(self.value)

    def columns(self, name: str) -> dict[str, float | None]:
        """``NAME``, ``NAME_low`` and ``NAME_high``; None where the number is undefined."""
        ends = zip(("", "_low", "_high"), self, strict=True)
        return {f"{name}{end}": number if self.known else None for end, number in ends}


def of_means(
    values: Curves, weights: Array, numbers: Callable[[Curves], dict[str, Array]]
) -> dict[str, Estimate]:
    """Estimates of numbers that are functions of mean curves, by name.

    ``values`` are [rows, ...] by name, ``weights`` [resamples, rows]
    (:func:`orchestrator.statistics.bootstrap.weights`). ``numbers`` maps mean curves to numbers and
    must keep leading axes.
    """
    point = numbers({name: rows.mean(0) for name, rows in values.items()})
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


def columns(estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    """The columns of several estimates together."""
    return {
        column: value
        for name, estimate in estimates.items()
        for column, value in estimate.columns(name).items()
    }

"""Metrics, one file each: a ratio of the sums in a table, computed long after the run."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.part import Part

Array = NDArray[np.float64]


class Metric(Part):
    """``value`` maps arrays of sums to an array of values; where nothing was there, to NaN."""

    kind: ClassVar[str] = "metrics"
    table: ClassVar[Literal["cases", "calibration"]]
    better: ClassVar[Literal["higher", "lower"]]
    pooled: ClassVar[bool]
    """Over all pixels of all cases at once, or the mean over cases."""

    @abc.abstractmethod
    def value(self, sums: Mapping[str, Array]) -> Array:
        """One value per case: sums are [N] for ``cases``, [N, bins] for ``calibration``."""


def ratio(top: Array, bottom: Array) -> Array:
    """``top / bottom``, NaN where the bottom is zero."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)

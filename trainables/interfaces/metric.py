"""The interface of metrics."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.part import Part

Array = NDArray[np.float64]


class Metric(Part):
    """A function of the sums in one table, computed from Parquet after the run.

    It is NaN where its denominator is zero.
    """

    kind: ClassVar[str] = "metrics"
    table: ClassVar[
        Literal["cases", "calibration", "samples", "annotators", "instances", "surfaces"]
    ]
    better: ClassVar[Literal["higher", "lower"]]
    pooled: ClassVar[bool]
    """Whether the value is computed over the pixels of all cases at once; else it is the mean over
    cases."""
    limit: ClassVar[float] = math.inf
    """The largest value that is possible; the smallest is 0."""

    @property
    def resolution(self) -> int | None:
        """The number of equal-width bins that decides the value; None: all that are stored."""
        return None

    @abc.abstractmethod
    def value(self, sums: Mapping[str, Array]) -> Array:
        """Return one value per case: sums are [N, bins] for ``calibration`` and ``surfaces``."""

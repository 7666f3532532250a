"""Adjustment of p-values for the number of tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def holm(p: Array) -> Array:
    """Adjusted p-values, [tests] in the order of the input.

    Rejecting where the adjusted value is at most α keeps the probability of any false rejection at
    most α, whatever the dependence of the tests (Holm 1979, Scand. J. Statist. 6:65-70): the k-th
    smallest of n is multiplied by n − k + 1, and none is smaller than one before it. NaN marks a
    test that was not made; it stays NaN and is not counted.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    stepped = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted

"""Many tests at once: p-values adjusted for how many there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.05
"""An adjusted p-value up to which something is said to be found."""


def holm(p: Array) -> Array:
    """Adjusted p-values, one per test: [tests] in, [tests] out, in the same order.

    Rejecting where the adjusted value is at most α keeps the chance of any false rejection at most
    α, however the tests depend on each other (Holm 1979, Scand. J. Statist. 6:65–70): the k-th
    smallest of n is multiplied by n − k + 1, and none is smaller than one before it. NaN, a test
    that was not made, stays NaN and is not counted.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    found = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    stepped = p[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return found

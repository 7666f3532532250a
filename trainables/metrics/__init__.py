"""Metrics, one file each: a ratio of the sums in a table, computed after the run."""

from collections.abc import Mapping
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from trainables.interfaces.metric import Array, Metric
from trainables.part import require

__all__ = ["Array", "Binning", "Metric", "ratio", "reliability"]

Binning = Literal["width", "mass"]


def ratio(top: Array, bottom: Array) -> Array:
    """Return ``top / bottom``, NaN where the bottom is zero."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)


def reliability(
    sums: Mapping[str, Array], bins: int, binning: Binning = "width"
) -> tuple[Array, Array]:
    """Return |Σp − Σy| and the pixel count of each bin of the probability, both [N, bins].

    A bin is a run of stored fine bins. Bins of equal ``width`` need a number that divides the
    number of fine bins. For bins of equal ``mass`` a fine bin belongs to the quantile of its median
    pixel: the masses are equal up to one fine bin, and a fine bin with more than its share leaves
    some of the bins empty.
    """
    count = sums["count"]
    rows, fine = count.shape
    if binning == "width":
        require(fine % bins == 0, f"bins={bins} must divide {fine}, the stored bins")
        of_fine = np.arange(fine, dtype=np.int64) // (fine // bins)
        target = np.broadcast_to(of_fine, count.shape)
    else:
        median = count.cumsum(1) - count / 2
        share = median / np.maximum(count.sum(1, keepdims=True), 1)
        target = np.minimum((bins * share).astype(np.int64), bins - 1)
    cell = cast("NDArray[np.int64]", np.arange(rows)[:, None] * bins + target).ravel()

    def merged(values: Array) -> Array:
        flat = np.bincount(cell, weights=values.ravel(), minlength=rows * bins)
        return cast("Array", flat).reshape(rows, bins)

    return np.abs(merged(sums["p_sum"] - sums["y_sum"])), merged(count)

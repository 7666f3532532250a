"""Metrics, one file each: a ratio of the sums in a table, computed after the run."""

from collections.abc import Mapping
from typing import Literal, cast

import numpy as np

from trainables.interfaces.metric import Array, Metric
from trainables.part import require

__all__ = ["Array", "Binning", "Metric", "ratio", "reliability"]

Binning = Literal["width", "mass"]


def ratio(top: Array, bottom: Array) -> Array:
    """``top / bottom``, NaN where the bottom is zero."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)


def reliability(
    sums: Mapping[str, Array], bins: int, binning: Binning = "width"
) -> tuple[Array, Array]:
    """|Σp − Σy| and the pixel count of each of ``bins`` bins of the probability, both [N, bins].

    A bin is a run of stored fine bins: of equal width, which needs a number that divides theirs,
    or of equal mass, where a fine bin goes to the quantile in which its median pixel lies. Mass
    is therefore equal up to one fine bin, and a fine bin that holds more than its share leaves
    some of the bins empty.
    """
    count = sums["count"]
    rows, fine = count.shape
    if binning == "width":
        require(fine % bins == 0, f"bins={bins} must divide {fine}, the stored bins")
        to = np.broadcast_to(np.arange(fine) // (fine // bins), count.shape)
    else:
        median = count.cumsum(1) - count / 2
        share = median / np.maximum(count.sum(1, keepdims=True), 1)
        to = np.minimum((bins * share).astype(np.int64), bins - 1)
    place = (np.arange(rows)[:, None] * bins + to).ravel()

    def merged(values: Array) -> Array:
        flat = np.bincount(place, weights=values.ravel(), minlength=rows * bins)
        return cast("Array", flat).reshape(rows, bins)

    return np.abs(merged(sums["p_sum"] - sums["y_sum"])), merged(count)

"""Location, width and monotonicity of densities over strata.

Curves are [..., strata] with the strata in rising order; every function keeps the leading axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainables.metrics import ratio

Array = NDArray[np.float64]
DEAD = 0.01
"""A stratum is dead if its density is below this share of the peak."""


def quantile(areas: Array, edges: Array, share: float = 0.5) -> Array:
    """The position below which a share of the area lies, with a constant density in each stratum.

    ``areas`` [..., strata] ≥ 0, ``edges`` [strata + 1] rising; NaN where the area is zero.
    """
    cumulative = np.concatenate([np.zeros((*areas.shape[:-1], 1)), np.cumsum(areas, -1)], -1)
    sought = cumulative[..., -1:] * share
    at = np.maximum((cumulative[..., :-1] <= sought).sum(-1, keepdims=True) - 1, 0)
    below, above = (np.take_along_axis(cumulative, at + i, -1) for i in (0, 1))
    position = edges[at] + (sought - below) * ratio(edges[at + 1] - edges[at], above - below)
    return np.where(cumulative[..., -1:] > 0, position, np.nan)[..., 0]


def width(areas: Array, edges: Array) -> Array:
    """The distance between the 10 % and the 90 % quantile."""
    return quantile(areas, edges, 0.9) - quantile(areas, edges, 0.1)


def share_under(values: Array, limit: float, widths: Array) -> Array:
    """The share of the axis on which a curve is below a limit; NaN counts as not below."""
    return ((values < limit) * widths).sum(-1) / widths.sum()


def live(density: Array, edges: Array) -> tuple[Array, Array, Array]:
    """The outer edges of the strata with at least :data:`DEAD` of the peak, and the dead share.

    The share is that of the whole axis; strata between live ones may be dead as well.
    """
    peak = density.max(-1, keepdims=True)
    alive = (density >= DEAD * peak) & (peak > 0)
    first = alive.argmax(-1)
    last = alive.shape[-1] - alive[..., ::-1].argmax(-1)
    dead = (~alive * np.diff(edges)).sum(-1) / (edges[-1] - edges[0])
    some = alive.any(-1)
    return np.where(some, edges[first], np.nan), np.where(some, edges[last], np.nan), dead


def non_monotonicity(values: Array) -> Array:
    """The share of a curve's total variation that cancels: 1 − |last − first| / Σ|steps|.

    0 if and only if the curve is monotone, 1 where it ends at its first value.
    """
    steps = np.abs(np.diff(values, axis=-1)).sum(-1)
    net = np.abs(values[..., -1] - values[..., 0])
    return np.maximum(1 - np.nan_to_num(ratio(net, steps), nan=1.0), 0.0)


def onto(grid: Array, edges: Array) -> Array:
    """The matrix that distributes areas of strata over the bins of a grid: [strata, bins].

    Parts of a stratum beyond the grid are left out.
    """
    low = np.maximum(edges[:-1, None], grid[None, :-1])
    high = np.minimum(edges[1:, None], grid[None, 1:])
    return np.maximum(high - low, 0.0) / np.diff(edges)[:, None]

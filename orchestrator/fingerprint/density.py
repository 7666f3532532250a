"""What a density over strata tells: where it lies, and how it rises and falls.

Curves are [..., strata], the strata in rising order; every function keeps the axes before the last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainables.metrics import ratio

Array = NDArray[np.float64]
DEAD = 0.01
"""Of the peak: what is below it tells nothing."""


def quantile(areas: Array, edges: Array, share: float = 0.5) -> Array:
    """The place below which a share of the area lies, the density even within each stratum.

    ``areas`` [..., strata] ≥ 0, ``edges`` [strata + 1] rising; NaN where there is no area.
    """
    cumulative = np.concatenate([np.zeros((*areas.shape[:-1], 1)), np.cumsum(areas, -1)], -1)
    sought = cumulative[..., -1:] * share
    at = np.maximum((cumulative[..., :-1] <= sought).sum(-1, keepdims=True) - 1, 0)
    below, above = (np.take_along_axis(cumulative, at + i, -1) for i in (0, 1))
    found = edges[at] + (sought - below) * ratio(edges[at + 1] - edges[at], above - below)
    return np.where(cumulative[..., -1:] > 0, found, np.nan)[..., 0]


def width(areas: Array, edges: Array) -> Array:
    """How far apart the places are below which a tenth and nine tenths of the area lie."""
    return quantile(areas, edges, 0.9) - quantile(areas, edges, 0.1)


def share_under(values: Array, limit: float, widths: Array) -> Array:
    """The share of the axis on which a curve is below a limit; NaN is not below any."""
    return ((values < limit) * widths).sum(-1) / widths.sum()


def live(density: Array, edges: Array) -> tuple[Array, Array, Array]:
    """The outermost edges of what has at least :data:`DEAD` of the peak, and the dead share.

    The share is of the whole axis: strata between live ones may be dead as well.
    """
    peak = density.max(-1, keepdims=True)
    alive = (density >= DEAD * peak) & (peak > 0)
    first = alive.argmax(-1)
    last = alive.shape[-1] - alive[..., ::-1].argmax(-1)
    dead = (~alive * np.diff(edges)).sum(-1) / (edges[-1] - edges[0])
    some = alive.any(-1)
    return np.where(some, edges[first], np.nan), np.where(some, edges[last], np.nan), dead


def non_monotonicity(values: Array) -> Array:
    """The share of a curve's ups and downs that leads nowhere: 1 − |last − first| / Σ|steps|.

    0 if and only if the curve is monotone, 1 where it ends as high as it began.
    """
    steps = np.abs(np.diff(values, axis=-1)).sum(-1)
    net = np.abs(values[..., -1] - values[..., 0])
    return np.maximum(1 - np.nan_to_num(ratio(net, steps), nan=1.0), 0.0)


def onto(grid: Array, edges: Array) -> Array:
    """The matrix that spreads strata's areas over the bins of another axis: [strata, bins].

    What of a stratum lies beyond the grid is left out.
    """
    low = np.maximum(edges[:-1, None], grid[None, :-1])
    high = np.minimum(edges[1:, None], grid[None, 1:])
    return np.maximum(high - low, 0.0) / np.diff(edges)[:, None]

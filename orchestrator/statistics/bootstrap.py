"""Percentile bootstrap over patients and training seeds (Efron & Tibshirani 1993, chapter 13).

What is drawn of test cases are units (:func:`units`): whole patients, slides or images, since
tiles and slices of one are no independent cases (Field & Welsh 2007, JRSS B 69:369).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Names = Sequence[str] | NDArray[np.int64]
"""Of rows; what matters is which are equal, and their order."""

RESAMPLES = 1000
LEVEL = 0.95
FEWEST = 6
"""Groups that a statement at 95 % takes: of five, all are on one side of the truth by chance with
probability 2 · 2⁻⁵ = 6.25 %, so neither the range of their means nor any signed-rank test is so
sure."""


def units(cases: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """What each row's case is drawn as, whole: its group, where :data:`FEWEST` or more are there.

    Of fewer groups a case is drawn by itself. What is then said holds for more cases of these
    groups, and tells nothing of other ones.
    """
    return groups if len(np.unique(groups)) >= FEWEST else cases


def count_units(images: int, groups: int) -> int:
    """How many units so many cases of so many groups are."""
    return groups if groups >= FEWEST else images


def weights(runs: Names, units: Names, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each row counts in each resample: [resamples, rows].

    A row is one case as one training run (seed) saw it. Runs and units (:func:`units`) are both
    resampled, and all runs share the draw of units, since they share the cases; pixels are never
    resampled. The draw depends on the names' order only, so two arms over the same cases are
    resampled alike.
    """
    ranks = (np.unique(np.asarray(names), return_inverse=True)[1] for names in (runs, units))
    of_run, of_unit = (rank.astype(np.int64).tobytes() for rank in ranks)
    return _weights(of_run, of_unit, resamples, seed)


@functools.lru_cache(maxsize=32)
def _weights(runs: bytes, units: bytes, resamples: int, seed: int) -> Array:
    draws = np.random.default_rng(seed)
    of_unit = _counts(units, resamples, draws)
    return of_unit * _counts(runs, resamples, draws)


def _counts(ranks: bytes, resamples: int, draws: np.random.Generator) -> Array:
    """How often each name is drawn when as many are drawn as there are, for every row."""
    rank = np.frombuffer(ranks, np.int64)
    names = int(rank.max(initial=-1)) + 1
    drawn = draws.multinomial(names, np.full(names, 1 / names) if names else [], resamples)
    return drawn[:, rank].astype(np.float64)


def interval(resampled: Array) -> tuple[Array, Array]:
    """Lower and upper end over the first axis; NaNs are left out."""
    tail = 100 * (1 - LEVEL) / 2
    # Leaving NaNs out takes a loop in Python over everything behind the first axis.
    percentile = np.nanpercentile if np.isnan(resampled).any() else np.percentile
    low, high = percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high


def mean_interval(values: Array, counted: Array) -> tuple[Array, Array, Array]:
    """Mean over cases and its interval; ``values`` is [cases, ...]."""
    flat = values.reshape(len(values), -1)
    resampled = counted @ flat / counted.sum(1, keepdims=True)
    low, high = interval(resampled)
    shape = values.shape[1:]
    return flat.mean(0).reshape(shape), low.reshape(shape), high.reshape(shape)

"""Percentile bootstrap over cases and training seeds (Efron & Tibshirani 1993, chapter 13)."""

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


def weights(runs: Names, cases: Names, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each row counts in each resample: [resamples, rows].

    A row is one case as one training run (seed) saw it. Runs and cases are both resampled, and
    all runs share the draw of cases, since they share the cases; pixels are never resampled. The
    draw depends on the names' order only, so two arms over the same cases are resampled alike.
    """
    ranks = (np.unique(np.asarray(names), return_inverse=True)[1] for names in (runs, cases))
    of_run, of_case = (rank.astype(np.int64).tobytes() for rank in ranks)
    return _weights(of_run, of_case, resamples, seed)


@functools.lru_cache(maxsize=32)
def _weights(runs: bytes, cases: bytes, resamples: int, seed: int) -> Array:
    draws = np.random.default_rng(seed)
    of_case = _counts(cases, resamples, draws)
    return of_case * _counts(runs, resamples, draws)


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

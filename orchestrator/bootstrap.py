"""Percentile bootstrap over cases and training seeds (Efron & Tibshirani 1993, chapter 13)."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95


def weights(runs: list[str], cases: list[str], resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each row counts in each resample: [resamples, rows].

    A row is one case as one training run (seed) saw it. Runs and cases are both resampled, and
    all runs share the draw of cases, since they share the cases; pixels are never resampled. The
    draw depends on the names' order only, so two arms over the same cases are resampled alike.
    """
    return _weights(tuple(runs), tuple(cases), resamples, seed)


@functools.lru_cache(maxsize=32)
def _weights(runs: tuple[str, ...], cases: tuple[str, ...], resamples: int, seed: int) -> Array:
    draws = np.random.default_rng(seed)
    of_case = _counts(cases, resamples, draws)
    return of_case * _counts(runs, resamples, draws)


def _counts(names: tuple[str, ...], resamples: int, draws: np.random.Generator) -> Array:
    """How often each name is drawn when as many are drawn as there are, for every row."""
    order = {name: i for i, name in enumerate(sorted(set(names)))}
    drawn = draws.multinomial(len(order), np.full(len(order), 1 / len(order)), resamples)
    return drawn[:, [order[name] for name in names]].astype(np.float64)


def interval(resampled: Array) -> tuple[Array, Array]:
    """Lower and upper end over the first axis."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail], axis=0)
    return low, high


def mean_interval(values: Array, counted: Array) -> tuple[Array, Array, Array]:
    """Mean over cases and its interval; ``values`` is [cases, ...]."""
    flat = values.reshape(len(values), -1)
    resampled = counted @ flat / counted.sum(1, keepdims=True)
    low, high = interval(resampled)
    shape = values.shape[1:]
    return flat.mean(0).reshape(shape), low.reshape(shape), high.reshape(shape)

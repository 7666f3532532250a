"""Percentile bootstrap over cases, nested in seeds (Efron & Tibshirani 1993, chapter 13)."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95


def weights(groups: list[str], seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """How often each case counts in each resample: [resamples, cases], rows sum to cases.

    ``groups`` names the training run of each case: runs are resampled first, then cases within
    each; pixels never. The draws depend on the groups only, so two arms over the same cases are
    resampled alike.
    """
    return _weights(tuple(groups), seed, resamples)


@functools.lru_cache(maxsize=32)
def _weights(groups: tuple[str, ...], seed: int, resamples: int) -> Array:
    draws = np.random.default_rng(seed)
    order = sorted(set(groups))
    members = {g: np.array([i for i, x in enumerate(groups) if x == g]) for g in order}
    counted = np.zeros((resamples, len(groups)))
    for r in range(resamples):
        for g in draws.choice(len(order), len(order)):
            mine = members[order[g]]
            np.add.at(counted[r], draws.choice(mine, len(mine)), 1)
    return counted


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

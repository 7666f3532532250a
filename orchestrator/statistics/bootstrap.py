"""Percentile bootstrap over patients and training seeds (Efron & Tibshirani 1993, chapter 13).

Test cases are resampled as units (:func:`units`): whole patients, slides or images, because tiles
and slices of one image are not independent (Field & Welsh 2007, JRSS B 69:369).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics.levels import CONFIDENCE

Array = NDArray[np.float64]
Names = Sequence[str] | NDArray[np.int64]
"""Labels of rows; only their equality and their order matter."""

RESAMPLES = 1000
FEWEST = 6
"""The fewest groups that support a statement at 95 %. With five, all lie on one side of the truth
by chance with probability 2 · 2⁻⁵ = 6.25 %, so that neither the range of their means nor a
signed-rank test reaches 5 %."""


def units(cases: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The resampling unit of each row: its group if there are :data:`FEWEST` groups, else its case.

    With fewer groups, intervals and tests hold for further cases of the same groups only.
    """
    return groups if len(np.unique(groups)) >= FEWEST else cases


def count_units(images: int, groups: int) -> int:
    """The number of units, from the number of cases and of their groups."""
    return groups if groups >= FEWEST else images


def weights(runs: Names, units: Names, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each row counts in each resample: [resamples, rows].

    A row is one case evaluated with one training run (seed). Runs and units (:func:`units`) are
    both resampled. All runs share the sample of units, because they share the cases; pixels are
    never resampled. The sample depends on the order of the labels only, so that two arms with the
    same cases are resampled alike.
    """
    ranks = (np.unique(np.asarray(names), return_inverse=True)[1] for names in (runs, units))
    of_run, of_unit = (rank.astype(np.int64).tobytes() for rank in ranks)
    return _weights(of_run, of_unit, resamples, seed)


@functools.lru_cache(maxsize=32)
def _weights(runs: bytes, units: bytes, resamples: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    of_unit = _counts(units, resamples, rng)
    return of_unit * _counts(runs, resamples, rng)


def _counts(ranks: bytes, resamples: int, rng: np.random.Generator) -> Array:
    """How often the label of each row is drawn, when as many are drawn as there are labels."""
    rank = np.frombuffer(ranks, np.int64)
    labels = int(rank.max(initial=-1)) + 1
    counts = rng.multinomial(labels, np.full(labels, 1 / labels) if labels else [], resamples)
    return counts[:, rank].astype(np.float64)


def interval(resampled: Array) -> tuple[Array, Array]:
    """Lower and upper end of the percentile interval over the first axis; NaNs are left out."""
    tail = 100 * (1 - CONFIDENCE) / 2
    # nanpercentile loops in Python over everything behind the first axis.
    percentile = np.nanpercentile if np.isnan(resampled).any() else np.percentile
    low, high = percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high

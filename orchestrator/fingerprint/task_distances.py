"""Distances between densities, and maps and clusters that are made of distances."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from orchestrator.statistics.bootstrap import Array


def wasserstein(one: Array, other: Array, step: float) -> Array:
    """Wasserstein-1 distance in units of λ between densities of unit area, [..., bins] each.

    In one dimension it is the area between the cumulative distributions (Vallender 1974); the mass
    of a bin is located in its middle. ``step`` is the width of a bin.
    """
    return np.abs(np.cumsum(one - other, -1)).sum(-1) * step


def jensen_shannon(one: Array, other: Array) -> Array:
    """The square root of the Jensen-Shannon divergence in bits, in [0, 1] (Lin 1991)."""
    with np.errstate(invalid="ignore"):  # rounding leaves roots of −1e-17 for equal densities
        distance = cast("Array", cast("Any", jensenshannon)(one, other, base=2, axis=-1))
    unknown = np.isnan(one).any(-1) | np.isnan(other).any(-1)
    return np.where(unknown, np.nan, np.nan_to_num(distance))


def area_between(one: Array, other: Array) -> Array:
    """The sum of absolute differences over bins: [..., bins] each."""
    return np.abs(one - other).sum(-1)


def embedded(distances: Array) -> Array:
    """Classical scaling: points in the plane, [n, 2], whose distances approximate those given.

    Torgerson 1952: the two largest eigenvectors of the doubly centred squared distances, [n, n].
    The sign of an axis is arbitrary; its largest coordinate is positive here.
    """
    n = len(distances)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centre @ distances**2 @ centre / 2)
    points = np.zeros((n, 2))
    kept = min(2, n)
    points[:, :kept] = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :kept]
    largest = points[np.abs(points).argmax(0), [0, 1]]
    return points * np.where(largest < 0, -1, 1) + 0.0  # no negative zero


def clustered(distances: Array, separate: NDArray[np.bool_]) -> list[int]:
    """Cluster labels by average linkage, cut where no cluster contains a separate pair.

    Both matrices are [n, n]. The cut is the highest possible one; labels count from 1 in the order
    of the rows.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    tree = hierarchy.linkage(squareform(distances, checks=False), "average")
    labels = np.arange(len(distances))
    for height in np.unique(tree[:, 2]):
        merged = hierarchy.fcluster(tree, height, "distance")
        if (separate & (merged[:, None] == merged)).any():
            break
        labels = merged
    number = {label: i for i, label in enumerate(dict.fromkeys(labels.tolist()), 1)}
    return [number[label] for label in labels.tolist()]

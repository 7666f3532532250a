"""How far apart the fingerprints of two tasks are, in shape and in bits, and whether by chance."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint import task_distances
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.curve_intervals import with_ends

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

DISTANCES = ("wasserstein", "jensen_shannon", "area_between")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in task_distances.ALIKE),
        *((k, pa.string()) for k in ("task", "against", "cell", "against_cell", "normalisation")),
        *((k, pa.int64()) for k in ("images", "groups", "images_against", "groups_against")),
        *((k, pa.float64()) for k in ("log_snr_low", "log_snr_high")),
        *((f"{k}{end}", pa.float64()) for k in DISTANCES for end in ("", "_low", "_high")),
        *((k, pa.float64()) for k in ("wasserstein_seeds", "p", "p_holm")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """Two rows per pair of tasks of a study that were trained alike: ``unit`` and ``bits``.

    Alike: the same arm, model, schedule and encoding
    (:func:`orchestrator.fingerprint.task_distances.groups`). The information densities over λ are
    compared on 64 equal bins between ``log_snr_low`` and ``log_snr_high``, which all tasks of the
    group were measured over. ``area_between``: ∫|g − g'|, in ``bits`` per pixel, or of densities
    scaled to ``unit`` area, of which it is at most 2. Of unit area also ``wasserstein``, in units
    of λ, and ``jensen_shannon``, in [0, 1].

    ``wasserstein_seeds``: the same distance between training seeds of one task, the mean, of the
    task where it is larger: what is not further apart may be chance in training, whatever ``p``.

    Intervals are bootstrapped over the units of each task, which are groups, or cases where it has
    fewer than six groups (:func:`orchestrator.statistics.bootstrap.units`); two noisy curves are
    never alike, so the lower ends are not 0 even where the truth is. That question is ``p``'s: a
    permutation test of equal shape that exchanges whole units with all their seeds, statistic the
    Wasserstein distance over its standard error; ``p_holm`` is adjusted for the pairs of the group.
    It is of the networks at hand; and where cases are exchanged, tiles of one image count as if
    they were patients: both make ``p`` too small.
    """
    found: list[dict[str, Any]] = []
    for group in task_distances.groups(tables):
        means = [areas.mean(0) for areas in group.areas]
        drawn = [group.drawn(i) for i in range(len(means))]
        for pair, (i, k) in enumerate(combinations(range(len(means)), 2)):
            about = _about(group, i, k)
            bits = _between(means[i], means[k]), _between(drawn[i], drawn[k])
            found.append({**about, "normalisation": "unit", **_unit(group, means, drawn, i, k)})
            if not np.isnan(group.p[pair]):
                found[-1] |= {"p": float(group.p[pair]), "p_holm": float(group.p_holm[pair])}
            found.append(
                {
                    **about,
                    "normalisation": "bits",
                    **with_ends("area_between", float(bits[0]), bits[1]),
                }
            )
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _about(group: task_distances.Group, i: int, k: int) -> dict[str, Any]:
    one, other = group.members[i], group.members[k]
    low, high = group.ends
    return {
        **group.about,
        "task": group.names[i],
        "against": group.names[k],
        "cell": one.about["cell"],
        "against_cell": other.about["cell"],
        "images": len(np.unique(one.cases)),
        "groups": len(np.unique(one.groups)),
        "images_against": len(np.unique(other.cases)),
        "groups_against": len(np.unique(other.groups)),
        "log_snr_low": low,
        "log_snr_high": high,
    }


def _unit(
    group: task_distances.Group, means: list[Array], drawn: list[Array], i: int, k: int
) -> dict[str, float | None]:
    """Distances of what is scaled to unit area, with their intervals."""
    found: dict[str, float | None] = {}
    sides = [[task_distances.unit(curves[j]) for j in (i, k)] for curves in (means, drawn)]
    measures = {
        "wasserstein": lambda one, other: task_distances.wasserstein(one, other, group.step),
        "jensen_shannon": task_distances.jensen_shannon,
        "area_between": _between,
    }
    for name, measure in measures.items():
        point, resampled = (measure(*side) for side in sides)
        found |= with_ends(name, float(point), resampled)
    apart = float(np.maximum(group.seeds_apart(i), group.seeds_apart(k)))  # NaN if either is
    return found | {"wasserstein_seeds": None if np.isnan(apart) else apart}


def _between(one: Array, other: Array) -> Array:
    return np.abs(one - other).sum(-1)

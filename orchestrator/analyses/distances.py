"""Distances between fingerprints of two tasks, in shape and in bits, with a test of equality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint.task_distances import area_between, jensen_shannon, wasserstein
from orchestrator.fingerprint.task_groups import ALIKE, TaskGroup, task_groups
from orchestrator.heldout.metrics import interval_columns
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.estimates import Columns, Estimate
from orchestrator.statistics.levels import FEWEST_UNITS
from orchestrator.statistics.shape_test import unit_area

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

DISTANCES = ("wasserstein", "jensen_shannon", "area_between")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ALIKE),
        *((k, pa.string()) for k in ("task", "against", "cell", "against_cell", "normalisation")),
        *((k, pa.int64()) for k in ("images", "groups", "images_against", "groups_against")),
        *((k, pa.float64()) for k in ("log_snr_low", "log_snr_high")),
        *interval_columns(DISTANCES),
        *((k, pa.float64()) for k in ("wasserstein_seeds", "p", "p_holm")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """Two rows per pair of tasks of a study whose models were trained alike: ``unit`` and ``bits``.

    Trained alike means the same arm, model, schedule and encoding
    (:func:`orchestrator.fingerprint.task_groups.task_groups`). The information densities over λ
    are compared on 64 equal bins between ``log_snr_low`` and ``log_snr_high``, the range over which
    all tasks of the group were measured. ``images`` and ``groups`` count the probed tiles of
    ``task`` and the patients, slides or slabs that they are from; ``images_against`` and
    ``groups_against`` those of ``against``.

    ``normalisation`` is ``bits`` for densities in bits per pixel, and ``unit`` for unit area.
    ``area_between`` is ∫|g − g'|, in bits per pixel, or at most 2 for unit area. The other
    distances are of unit area only: ``wasserstein`` in units of λ, and ``jensen_shannon``, the root
    of the divergence, in [0, 1]. ``wasserstein_seeds`` is the mean distance between training seeds
    of one task, the larger one of the two tasks: a distance that does not exceed it may be due to
    chance in training, whatever ``p``.

    95 % intervals are bootstrapped over the units of each task, which are groups, or cases where it
    has fewer than six groups (:func:`orchestrator.statistics.bootstrap.units`); a task of a single
    unit has none. Two noisy curves
    are never equal, so that lower ends are above 0 even where the truth is 0. Equality is tested by
    ``p``: a permutation test of equal shape that exchanges whole units with all their seeds, with
    the Wasserstein distance over its standard error as statistic
    (:mod:`orchestrator.statistics.shape_test`); ``p_holm`` is adjusted for the pairs of the group.
    The test is conditional on the networks at hand, and tiles of one image count as independent
    where cases are exchanged; both make ``p`` too small.
    """
    found: list[dict[str, Any]] = []
    for group in task_groups(tables):
        means = [areas.mean(0) for areas in group.areas]
        resampled = [group.resampled(i) for i in range(len(means))]
        for p, p_holm, (i, k) in zip(group.p, group.p_holm, group.pairs, strict=True):
            key = _key(group, i, k)
            shapes = _shape_distances(group, (i, k), means, resampled)
            tests = {} if np.isnan(p) else {"p": float(p), "p_holm": float(p_holm)}
            seeds = {"wasserstein_seeds": _seed_distance(group, i, k)}
            found.append({**key, "normalisation": "unit", **shapes, **seeds, **tests})
            bits = _estimate(
                group,
                (i, k),
                area_between(means[i], means[k]),
                area_between(resampled[i], resampled[k]),
            )
            found.append({**key, "normalisation": "bits", **bits.columns("area_between")})
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _key(group: TaskGroup, i: int, k: int) -> dict[str, Any]:
    one, other = group.members[i], group.members[k]
    low, high = group.ends
    return {
        **group.identity,
        "task": group.names[i],
        "against": group.names[k],
        "cell": one.final.cell,
        "against_cell": other.final.cell,
        **{name: one.counts[name] for name in ("images", "groups")},
        **{f"{name}_against": other.counts[name] for name in ("images", "groups")},
        "log_snr_low": low,
        "log_snr_high": high,
    }


def _shape_distances(
    group: TaskGroup, pair: tuple[int, int], means: list[Array], resampled: list[Array]
) -> Columns:
    """The distances between the densities of two tasks, scaled to unit area."""
    one, other = (unit_area(means[i]) for i in pair)
    ones, others = (unit_area(resampled[i]) for i in pair)
    estimates = {
        "wasserstein": (
            wasserstein(one, other, group.step),
            wasserstein(ones, others, group.step),
        ),
        "jensen_shannon": (jensen_shannon(one, other), jensen_shannon(ones, others)),
        "area_between": (area_between(one, other), area_between(ones, others)),
    }
    columns: Columns = {}
    for name, (value, values) in estimates.items():
        columns |= _estimate(group, pair, value, values).columns(name)
    return columns


def _estimate(group: TaskGroup, pair: tuple[int, int], value: Array, resampled: Array) -> Estimate:
    """A distance with its interval, which a task of a single unit does not give."""
    if min(len(np.unique(group.members[i].units)) for i in pair) < FEWEST_UNITS:
        return Estimate.without_interval(float(value))
    return Estimate.from_resamples(float(value), resampled)


def _seed_distance(group: TaskGroup, i: int, k: int) -> float | None:
    """The larger seed distance of two tasks; None if either is unknown."""
    distance = float(np.maximum(group.seed_distance(i), group.seed_distance(k)))
    return None if np.isnan(distance) else distance

"""Tasks as points in a plane, by the distances of their fingerprints, and traits of their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint import density
from orchestrator.fingerprint.task_distances import clustered, embedded, wasserstein
from orchestrator.fingerprint.task_groups import ALIKE, TaskGroup, task_groups
from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.levels import ALPHA
from orchestrator.statistics.rank_tests import spearman
from orchestrator.statistics.shape_test import unit_area
from trainables.metrics import ratio

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

TRAITS = ("prevalence", "object_size", "perimeter", "correlation")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in (*ALIKE, "task", "cell")),
        *((k, pa.int64()) for k in ("tasks", "cluster")),
        *((k, pa.float64()) for k in ("x", "y", "half", *TRAITS)),
        *((f"{k}_rho", pa.float64()) for k in TRAITS),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per task of each group of at least two tasks whose models were trained alike.

    ``tasks`` is the number of tasks in the group. ``x`` and ``y``, in units of λ, are coordinates
    by classical scaling of the Wasserstein distances of the view ``distances``. ``cluster`` is a
    label by average linkage, cut at the highest place where no cluster holds two tasks that the
    permutation test separates (Holm-adjusted p < 0.05). ``half`` is the λ below which half of the
    information lies, within the range that the group shares.

    Traits of the true masks of the test cases, all foreground classes together: ``prevalence``, the
    share of foreground pixels; ``object_size``, the mean in pixels; ``perimeter``, the number per
    pixel of neighbouring pairs of which one pixel belongs to a class, summed over classes;
    ``correlation`` of neighbouring pixels, the mean over classes, from the share 2p(1 − p)(1 − ρ)
    of pairs that differ. ``NAME_rho`` is Spearman's rank correlation of a trait with ``half`` over
    the tasks of the group, null for fewer than 4 tasks.
    """
    found: list[dict[str, Any]] = []
    groups = task_groups(tables)
    digests = {d for group in groups for member in group.members for d in member.digests}
    tested = HeldOutRows("cases", tables["cases"], digests) if digests else None
    for group in groups:
        assert tested is not None
        found += _rows(group, [traits(tested, member.digests) for member in group.members])
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _rows(group: TaskGroup, masks: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The rows of a group, given the traits of each task."""
    halves = [float(density.quantile(areas.mean(0), group.grid)) for areas in group.areas]
    correlations = {
        f"{trait}_rho": spearman(np.array([mask[trait] for mask in masks]), np.array(halves))
        for trait in TRAITS
    }
    points, labels = _placed(group)
    return [
        {
            **group.identity,
            "task": group.names[i],
            "cell": member.final.cell,
            "tasks": len(group.members),
            "cluster": labels[i],
            "x": float(points[i, 0]),
            "y": float(points[i, 1]),
            **_null_for_nan({"half": halves[i], **masks[i], **correlations}),
        }
        for i, member in enumerate(group.members)
    ]


def _placed(group: TaskGroup) -> tuple[Array, list[int]]:
    """The coordinates and the cluster label of each task."""
    n = len(group.members)
    curves = [unit_area(areas.mean(0)) for areas in group.areas]
    distances, separate = np.zeros((n, n)), np.zeros((n, n), bool)
    for p, (i, k) in zip(group.p_holm, group.pairs, strict=True):
        distance = wasserstein(curves[i], curves[k], group.step)
        distances[i, k] = distances[k, i] = np.nan_to_num(distance)
        separate[i, k] = separate[k, i] = p <= ALPHA
    return embedded(distances), clustered(distances, separate)


def traits(tested: HeldOutRows, digests: list[str]) -> dict[str, float]:
    """Traits of the true masks of some trials' test cases; NaN where they were not counted."""
    rows = tested.indices(set(digests), SAMPLE)
    classes = tested.codes["class"][rows]
    kinds = np.unique(classes)
    if not len(kinds):
        return dict.fromkeys(TRAITS, np.nan)
    absent = np.full(len(tested.codes["case"]), np.nan)

    def summed(*names: str) -> Array:
        values = sum(tested.numbers.get(name, absent) for name in names)
        return np.array([cast("Array", values)[rows[classes == kind]].sum() for kind in kinds])

    ones, pixels = summed("tp", "fn"), summed("tp", "fp", "fn", "tn")
    edges, pairs, objects = (summed(name) for name in ("edges", "pairs", "objects"))
    share = ones / pixels
    correlation = 1 - ratio(edges / pairs, 2 * share * (1 - share))
    values = (
        share.sum(),
        ratio(ones.sum(), objects.sum()),
        (edges / pixels).sum(),
        correlation.mean(),
    )
    return {name: float(value) for name, value in zip(TRAITS, values, strict=True)}


def _null_for_nan(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}

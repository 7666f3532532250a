"""Tasks in a plane, near each other where their fingerprints are, and what might explain it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint import density, task_distances
from orchestrator.heldout.rows import SAMPLE, HeldOutRows
from orchestrator.statistics.bootstrap import Array
from trainables.metrics import ratio

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

SEPARATE = 0.05
FEWEST = 4
"""Tasks that a rank correlation is told of."""
TRAITS = ("prevalence", "object_size", "perimeter", "correlation")
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in (*task_distances.ALIKE, "task", "cell")),
        *((k, pa.int64()) for k in ("tasks", "cluster")),
        *((k, pa.float64()) for k in ("x", "y", "half", *TRAITS)),
        *((f"{k}_rho", pa.float64()) for k in TRAITS),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per task of each group of tasks that were trained alike, two or more.

    ``x`` and ``y``, in units of λ: classical scaling of the Wasserstein distances of the view
    ``distances``. ``cluster``: average linkage, cut at the highest place where no cluster holds
    two tasks that the permutation test separates (Holm-adjusted p < 0.05). ``half``: the λ below
    which half of the information is, of what lies within the range that the group shares.

    Of the true masks of the test cases, all foreground classes together: ``prevalence``, the share
    of the pixels; ``object_size`` in pixels, the mean; ``perimeter`` per pixel, neighbouring pairs
    of which one pixel is of a class, summed over classes; ``correlation`` of neighbouring pixels,
    the mean over classes: a pair differs with probability 2p(1 − p)(1 − ρ). ``NAME_rho``:
    Spearman's rank correlation of each with ``half`` over the tasks of the group, null for fewer
    than 4.
    """
    found: list[dict[str, Any]] = []
    made = task_distances.groups(tables)
    digests = {d for group in made for member in group.members for d in member.digests}
    tested = HeldOutRows("cases", tables["cases"], digests) if digests else None
    for group in made:
        assert tested is not None
        mine = [
            {**_half(group, i), **traits(tested, m.digests)} for i, m in enumerate(group.members)
        ]
        told = {f"{k}_rho": _rho([row[k] for row in mine], mine) for k in TRAITS}
        points, labels = _placed(group)
        found += [
            {
                **group.about,
                "task": group.names[i],
                "cell": member.about["cell"],
                "tasks": len(group.members),
                "cluster": labels[i],
                "x": float(points[i, 0]),
                "y": float(points[i, 1]),
                **mine[i],
                **told,
            }
            for i, member in enumerate(group.members)
        ]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _placed(group: task_distances.Group) -> tuple[Array, list[int]]:
    n = len(group.members)
    curves = [task_distances.unit(areas.mean(0)) for areas in group.areas]
    apart, separate = np.zeros((n, n)), np.zeros((n, n), bool)
    for p, (i, k) in zip(group.p_holm, combinations(range(n), 2), strict=True):
        distance = task_distances.wasserstein(curves[i], curves[k], group.step)
        apart[i, k] = apart[k, i] = np.nan_to_num(distance)
        separate[i, k] = separate[k, i] = p < SEPARATE
    return task_distances.embedded(apart), task_distances.clustered(apart, separate)


def _half(group: task_distances.Group, i: int) -> dict[str, float | None]:
    edges = np.linspace(*group.ends, task_distances.BINS + 1)
    return {"half": _known(density.quantile(group.areas[i].mean(0), edges))}


def traits(tested: HeldOutRows, digests: list[str]) -> dict[str, float | None]:
    """What the true masks of some trials' test cases are like; None where it was not counted."""
    mine = tested.indices(set(digests), SAMPLE)
    classes = tested.codes["class"][mine]
    kinds = np.unique(classes)
    if not len(kinds):
        return dict.fromkeys(TRAITS)
    absent = np.full(len(tested.codes["case"]), np.nan)

    def summed(*columns: str) -> Array:
        values = sum(tested.numbers.get(column, absent) for column in columns)
        return np.array([cast("Array", values)[mine[classes == kind]].sum() for kind in kinds])

    ones, pixels = summed("tp", "fn"), summed("tp", "fp", "fn", "tn")
    edges, pairs, objects = (summed(column) for column in ("edges", "pairs", "objects"))
    share = ones / pixels
    correlation = 1 - ratio(edges / pairs, 2 * share * (1 - share))
    values = (
        share.sum(),
        ratio(ones.sum(), objects.sum()),
        (edges / pixels).sum(),
        correlation.mean(),
    )
    return {name: _known(value) for name, value in zip(TRAITS, values, strict=True)}


def _rho(values: list[float | None], rows: list[dict[str, float | None]]) -> float | None:
    from scipy import stats  # half a second to import, which only this needs

    known = [
        (v, r["half"]) for v, r in zip(values, rows, strict=True) if None not in (v, r["half"])
    ]
    if len(known) < FEWEST or any(len(set(side)) == 1 for side in zip(*known, strict=True)):
        return None
    one, other = zip(*known, strict=True)
    return _known(cast("Any", stats.spearmanr(one, other)).statistic)


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None

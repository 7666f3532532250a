"""Information densities of tasks on a common axis: how far apart they are, and if by chance.

Distances are between densities by the second estimator, which is never negative.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from orchestrator.fingerprint import density
from orchestrator.fingerprint.probes import Probed, cells
from orchestrator.statistics.bootstrap import Array, weights
from orchestrator.statistics.multiple_testing import holm
from trainables.metrics import ratio

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

BINS = 64
PERMUTATIONS = 1999
"""At least; more where there are many pairs, or Holm's adjustment could reject nothing."""
ALIKE = ("study", "arm", "model", "schedule", "encoding")


@dataclass(frozen=True)
class Group:
    """Cells of several tasks that are otherwise alike, one per task, on a common axis."""

    about: dict[str, str]
    members: list[Probed]
    names: list[str]
    """Of the tasks; where two are called alike, of their cells."""

    @property
    def ends(self) -> tuple[float, float]:
        """The λ that all of them were measured over."""
        edges = [member.edges for member in self.members]
        return max(float(e[0]) for e in edges), min(float(e[-1]) for e in edges)

    @cached_property
    def areas(self) -> list[Array]:
        """Bits per pixel of each row in each of equal bins between the ends: [rows, bins]."""
        grid = np.linspace(*self.ends, BINS + 1)
        return [
            m.curves["information_orthogonal"] * np.diff(m.edges) @ density.onto(grid, m.edges)
            for m in self.members
        ]

    @property
    def step(self) -> float:
        """The width of a bin."""
        low, high = self.ends
        return (high - low) / BINS

    def drawn(self, i: int) -> Array:
        """The mean areas of a task over each resample of its units: [resamples, bins]."""
        member = self.members[i]
        counted = weights(member.runs, member.units, seed=i)
        return counted @ self.areas[i] / counted.sum(1, keepdims=True)

    def by_unit(self, i: int) -> Array:
        """What each unit adds to the mean areas of a task: [units, bins]."""
        _, at = np.unique(self.members[i].units, return_inverse=True)
        total = np.zeros((int(at.max()) + 1, BINS))
        np.add.at(total, at, self.areas[i])
        return total / len(at)

    def seeds_apart(self, i: int) -> float:
        """The mean Wasserstein distance between a task's training runs; NaN of a single one."""
        runs = self.members[i].runs
        curves = [unit(self.areas[i][runs == run].mean(0)) for run in np.unique(runs)]
        apart = [wasserstein(one, other, self.step) for one, other in combinations(curves, 2)]
        return float(np.mean(apart)) if apart else np.nan

    @cached_property
    def p(self) -> Array:
        """Of each pair of tasks: [pairs], in the order of ``combinations``."""
        pairs = list(combinations(range(len(self.members)), 2))
        many = max(PERMUTATIONS, 40 * len(pairs) - 1)
        units = [self.by_unit(i) for i in range(len(self.members))]
        return np.array([exchanged(units[i], units[k], many) for i, k in pairs])

    @cached_property
    def p_holm(self) -> Array:
        """The same, adjusted for the number of pairs."""
        return holm(self.p)


def groups(tables: Catalog) -> list[Group]:
    """All groups of two tasks or more, of the studies that are looked at.

    Cells are alike within a study if arm, model, schedule and encoding are the same. Where a task
    has several of these, all else in the config must be the same too. Cells whose ranges of λ
    have nothing in common make no group.
    """
    alike: dict[tuple[str, ...], list[Probed]] = {}
    for probed in cells(tables):
        whole = probed.whole()
        if probed.about["axis"] == "log_snr" and len(whole.runs):
            key = tuple(_about(probed)[name] for name in ALIKE)
            alike.setdefault(key, []).append(whole)
    found: list[Group] = []
    for key, members in sorted(alike.items()):
        for some in _one_per_task(members):
            names = [m.about["task"] for m in some]
            unique = len(set(names)) == len(names)
            called = names if unique else [m.about["cell"] for m in some]
            group = Group(dict(zip(ALIKE, key, strict=True)), some, called)
            if len(some) > 1 and group.ends[0] < group.ends[1]:
                found.append(group)
    return found


def _about(probed: Probed) -> dict[str, str]:
    name, scale = probed.encoding
    offset = probed.offset
    return {**probed.about, "encoding": f"{name} {scale:g}" + (f"{offset:+g}" if offset else "")}


def _one_per_task(members: list[Probed]) -> list[list[Probed]]:
    """Members as one list if no task is in it twice, else by the rest of their config."""
    tasks = [_task(m) for m in members]
    if len(set(tasks)) == len(tasks):
        return [members]
    split: dict[str, dict[str, Probed]] = {}
    for task, member in zip(tasks, members, strict=True):
        rest = {k: v for k, v in member.config.items() if k not in ("task", "seed")}
        split.setdefault(json.dumps(rest, sort_keys=True), {}).setdefault(task, member)
    return [list(some.values()) for some in split.values()]


def _task(member: Probed) -> str:
    return json.dumps([member.about["task"], member.config.get("task")], sort_keys=True)


def unit(areas: Array) -> Array:
    """Scaled to one bit in all, [..., bins]; NaN where there is nothing."""
    return ratio(areas, np.broadcast_to(areas.sum(-1, keepdims=True), areas.shape))


def wasserstein(one: Array, other: Array, step: float) -> Array:
    """Wasserstein-1 distance in units of λ between densities of unit area, [..., bins] each.

    In one dimension it is the area between the cumulative distributions (Vallender 1974); mass is
    taken to lie in the middle of its bin.
    """
    return np.abs(np.cumsum(one - other, -1)).sum(-1) * step


def jensen_shannon(one: Array, other: Array) -> Array:
    """The square root of the Jensen–Shannon divergence in bits, in [0, 1] (Lin 1991)."""
    with np.errstate(invalid="ignore"):  # of two that are equal, rounding leaves a root of −1e-17
        found = cast("Array", cast("Any", jensenshannon)(one, other, base=2, axis=-1))
    unknown = np.isnan(one).any(-1) | np.isnan(other).any(-1)
    return np.where(unknown, np.nan, np.nan_to_num(found))


def exchanged(one: Array, other: Array, many: int = PERMUTATIONS, seed: int = 0) -> float:
    """The p-value of a permutation test that two tasks have the same shape; [units, bins] each.

    The statistic is the Wasserstein-1 distance of the mean densities, scaled to unit area, over the
    standard error of its cumulative differences: without it, fewer units of a task whose units
    differ more would be taken for another shape (Janssen 1997, Stat. Prob. Lett. 36:9). Under the
    hypothesis whole units, scaled by the bits of their task's mean, may be exchanged between the
    tasks; the split that was seen counts as one. It is about the networks at hand: a unit has all
    its training seeds, and how far seeds are apart is not in it. NaN where a task has no
    information.
    """
    totals = one.sum(1).mean(), other.sum(1).mean()
    if not min(totals) > 0:
        return np.nan
    pooled = np.concatenate([one / totals[0], other / totals[1]])
    # What each unit adds to the difference of shapes, to first order: more bits are no difference.
    shape = unit(pooled.sum(0))
    added = np.cumsum(pooled - pooled.sum(1, keepdims=True) * shape, axis=1)
    order = np.random.default_rng(seed).random((many, len(pooled))).argsort(1)
    mine = np.concatenate([[np.arange(len(pooled))], order]) < len(one)
    (first, error), (second, other_error) = (
        _mean(side.astype(float), added) for side in (mine, ~mine)
    )
    distance = np.abs(first - second).sum(1)
    distance[distance < 1e-9] = 0  # rounding
    statistic = distance / np.maximum(np.sqrt(error + other_error), 1e-12)
    return float((statistic >= statistic[0] * (1 - 1e-9)).mean())


def _mean(chosen: Array, values: Array) -> tuple[Array, Array]:
    """Means [draws, bins] of chosen rows, and the sum over bins of their squared errors [draws]."""
    count = chosen[0].sum()
    mean = chosen @ values / count
    variance = np.maximum(chosen @ values**2 / count - mean**2, 0)
    return mean, variance.sum(1) / max(count - 1, 1)


def embedded(distances: Array) -> Array:
    """Classical scaling: points in the plane, [n, 2], that are about so far apart: [n, n].

    Torgerson 1952: the two largest eigenvectors of the doubly centred squared distances. The sign
    of an axis means nothing; here its largest coordinate is positive.
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
    """Average linkage, cut at the highest place where no cluster has a separate pair in it.

    Both matrices are [n, n]; labels count from 1 in the order of the tasks.
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
    first = {label: i for i, label in enumerate(dict.fromkeys(labels.tolist()), 1)}
    return [first[label] for label in labels.tolist()]

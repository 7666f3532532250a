"""Groups of tasks whose diffusion models were trained alike, with densities on a common axis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.fingerprint import density
from orchestrator.fingerprint.probes import ProbeCurves, probe_curves
from orchestrator.fingerprint.task_distances import wasserstein
from orchestrator.statistics.bootstrap import Array, weights
from orchestrator.statistics.multiple_testing import holm
from orchestrator.statistics.shape_test import PERMUTATIONS, same_shape, unit_area

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

BINS = 64
"""Bins of equal width on the common axis."""
ALIKE = ("study", "arm", "model", "schedule", "encoding")
"""The columns in which all cells of a group have the same value."""


@dataclass(frozen=True)
class TaskGroup:
    """Cells of several tasks that are otherwise alike, one per task.

    Densities are those of the second estimator of the image's information, which is never negative.
    """

    identity: dict[str, str]
    """The columns :data:`ALIKE`."""
    members: list[ProbeCurves]
    names: list[str]
    """Names of the tasks; the names of their cells where two tasks have the same name."""

    @property
    def ends(self) -> tuple[float, float]:
        """The range of λ over which all members were measured."""
        edges = [member.edges for member in self.members]
        return max(float(e[0]) for e in edges), min(float(e[-1]) for e in edges)

    @property
    def grid(self) -> Array:
        """Edges of the bins: [BINS + 1]."""
        return np.linspace(*self.ends, BINS + 1)

    @property
    def step(self) -> float:
        """The width of a bin."""
        low, high = self.ends
        return (high - low) / BINS

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of members, by their places."""
        return list(combinations(range(len(self.members)), 2))

    @cached_property
    def areas(self) -> list[Array]:
        """The bits per pixel of each row in each bin, by member: [rows, bins]."""
        return [
            m.curves["information_orthogonal"] * np.diff(m.edges) @ density.onto(self.grid, m.edges)
            for m in self.members
        ]

    def resampled(self, i: int) -> Array:
        """The mean areas of a member over each resample of its units: [resamples, bins]."""
        member = self.members[i]
        counts = weights(member.runs, member.units, seed=i)
        return counts @ self.areas[i] / counts.sum(1, keepdims=True)

    def by_unit(self, i: int) -> Array:
        """The contribution of each unit to the mean areas of a member: [units, bins]."""
        _, at = np.unique(self.members[i].units, return_inverse=True)
        total = np.zeros((int(at.max()) + 1, BINS))
        np.add.at(total, at, self.areas[i])
        return total / len(at)

    def seed_distance(self, i: int) -> float:
        """The mean Wasserstein distance between a member's training runs; NaN for a single run."""
        runs = self.members[i].runs
        curves = [unit_area(self.areas[i][runs == run].mean(0)) for run in np.unique(runs)]
        distances = [wasserstein(one, other, self.step) for one, other in combinations(curves, 2)]
        return float(np.mean(distances)) if distances else np.nan

    @cached_property
    def p(self) -> Array:
        """The p-value of equal shape of each pair: [pairs].

        The more pairs, the more permutations, so that Holm's adjustment can still reject.
        """
        permutations = max(PERMUTATIONS, 40 * len(self.pairs) - 1)
        units = [self.by_unit(i) for i in range(len(self.members))]
        return np.array([same_shape(units[i], units[k], permutations) for i, k in self.pairs])

    @cached_property
    def p_holm(self) -> Array:
        """The p-value of each pair, adjusted by Holm for the number of pairs: [pairs]."""
        return holm(self.p)


def task_groups(tables: Catalog) -> list[TaskGroup]:
    """All groups of at least two tasks.

    Cells are alike within a study if arm, model, schedule and encoding are the same. Where a task
    has several such cells, the rest of the config must be the same as well. Cells whose ranges of λ
    do not overlap form no group.
    """
    alike: dict[tuple[str, ...], list[ProbeCurves]] = {}
    for probe in probe_curves(tables):
        complete = probe.complete()
        if probe.axis == "log_snr" and len(complete.runs):
            alike.setdefault(_key(probe), []).append(complete)
    groups: list[TaskGroup] = []
    for key, cells in sorted(alike.items()):
        for members in _one_per_task(cells):
            tasks = [m.final.task for m in members]
            unique = len(set(tasks)) == len(tasks)
            names = tasks if unique else [m.final.cell for m in members]
            group = TaskGroup(dict(zip(ALIKE, key, strict=True)), members, names)
            if len(members) > 1 and group.ends[0] < group.ends[1]:
                groups.append(group)
    return groups


def _key(probe: ProbeCurves) -> tuple[str, ...]:
    name, scale, offset = probe.encoding
    encoding = f"{name} {scale:g}" + (f"{offset:+g}" if offset else "")
    return probe.final.study, probe.final.arm, probe.final.model, probe.schedule, encoding


def _one_per_task(cells: list[ProbeCurves]) -> list[list[ProbeCurves]]:
    """The cells as one list if each is of another task, else split by the rest of their config."""
    tasks = [_task(cell) for cell in cells]
    if len(set(tasks)) == len(tasks):
        return [cells]
    by_config: dict[str, dict[str, ProbeCurves]] = {}
    for task, cell in zip(tasks, cells, strict=True):
        rest = {k: v for k, v in cell.final.config.items() if k not in ("task", "seed")}
        by_config.setdefault(json.dumps(rest, sort_keys=True), {}).setdefault(task, cell)
    return [list(by_task.values()) for by_task in by_config.values()]


def _task(cell: ProbeCurves) -> str:
    return json.dumps([cell.final.task, cell.final.config.get("task")], sort_keys=True)

"""Intervals by plain loops, as an oracle for the views."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

Value = tuple[str | int, str | int, float]
"""Run, unit and value of one row."""


def mean_with_interval(rows: Sequence[Value]) -> list[float]:
    """The mean over rows and the ends of its interval: bootstrap-t over units, t over seeds."""
    mean = sum(value for *_, value in rows) / len(rows)
    runs, units = (sorted({row[i] for row in rows}) for i in (0, 1))
    grid = [
        [
            mean
            + len(runs) * len(units) * sum(v - mean for r, u, v in rows if (r, u) == at) / len(rows)
            for unit in units
            for at in [(run, unit)]
        ]
        for run in runs
    ]
    below, above = bootstrap_t([sum(column) / len(runs) for column in zip(*grid, strict=True)])
    half = of_seeds(grid)
    return [mean, mean - math.hypot(below, half), mean + math.hypot(above, half)]


def bootstrap_t(values: list[float]) -> tuple[float, float]:
    draws = np.random.default_rng(0).beta(0.5, 1.5, (2000, len(values)))
    mean, studentized = sum(values) / len(values), []
    for drawn in draws.tolist():
        weights = [w / sum(drawn) for w in drawn]
        center = sum(w * v for w, v in zip(weights, values, strict=True))
        spread = sum(w * (v - center) ** 2 for w, v in zip(weights, values, strict=True)) ** 0.5
        studentized.append((center - mean) / spread if spread > 1e-12 else 0.0)
    low, high = np.percentile(studentized, [2.5, 97.5]).tolist()
    return high * float(np.std(values)), -low * float(np.std(values))


def of_seeds(grid: list[list[float]]) -> float:
    """Student's quantile times the standard error that is due to seeds, by analysis of variance."""
    seeds, units = len(grid), len(grid[0])
    if seeds == 1:
        return 0.0
    mean = sum(map(sum, grid)) / (seeds * units)
    by_seed = [sum(row) / units for row in grid]
    by_unit = [sum(column) / seeds for column in zip(*grid, strict=True)]
    between = units * sum((v - mean) ** 2 for v in by_seed) / (seeds - 1)
    within = sum(
        (grid[s][u] - by_seed[s] - by_unit[u] + mean) ** 2
        for s in range(seeds)
        for u in range(units)
    ) / ((seeds - 1) * (units - 1))
    variance = max(0.0, between - within) / (seeds * units)
    return float(stats.t.ppf(0.975, seeds - 1)) * variance**0.5

"""Any numbers of mean curves, each with its 95 % interval over groups or cases nested in seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orchestrator.statistics import bootstrap
from orchestrator.statistics.bootstrap import Array

Curves = Mapping[str, Array]
"""Means over cases, by name: [..., strata], where the axes before the last are resamples."""
Numbers = Callable[[Curves], dict[str, Array]]
"""From curves to numbers, by name: [...]."""


def of_means(values: Curves, counted: Array, numbers: Numbers) -> dict[str, float | None]:
    """``NAME``, ``NAME_low`` and ``NAME_high`` of every number; None where it cannot be told.

    ``values`` are [rows, ...] by name, ``counted`` how often each row counts in each resample.
    """
    point = numbers({name: rows.mean(0) for name, rows in values.items()})
    total = counted.sum(1)
    drawn = numbers(
        {
            name: (counted @ rows.reshape(len(rows), -1) / total[:, None]).reshape(
                -1, *rows.shape[1:]
            )
            for name, rows in values.items()
        }
    )
    found: dict[str, float | None] = {}
    for name, value in point.items():
        found |= with_ends(name, float(value), drawn[name])
    return found


def with_ends(name: str, value: float, drawn: Array) -> dict[str, float | None]:
    """A number with the ends of its interval, drawn [resamples]; NaN and infinity become None."""
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(known):
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = bootstrap.interval(known)
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}

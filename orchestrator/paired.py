"""Two sets of trials compared on the cases that both were tested on, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd

from orchestrator import bootstrap
from orchestrator.measured import SAMPLE, Cases, HeldOut
from trainables.metrics import Array, Metric

PAIR = ["seed", "case", "class"]
NUMBERS = (
    "value",
    "value_against",
    "difference",
    "difference_low",
    "difference_high",
    "wilcoxon_p",
)
COUNTS = ("seeds", "images")


def differences(
    held_out: HeldOut, one: pd.DataFrame, other: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """One row per metric: both values, and the first less the second with its 95 % interval.

    ``one`` and ``other`` are ``trials`` rows. Only what both have is compared: the same training
    seed, the same case. Seeds and cases are resampled together (:mod:`orchestrator.bootstrap`), so
    what they share cancels. ``wilcoxon_p`` is of the signed-rank test over cases, each the mean
    over seeds (Wilcoxon 1945, two-sided); null for a metric of all pixels at once.
    """
    for table in {metric.table: None for metric in held_out.metrics}:
        pair = _common(_rows(held_out, table, one), _rows(held_out, table, other))
        if pair[0].empty:
            continue
        by_class = [
            (Cases(table, first), Cases(table, second)) for first, second in _by_class(*pair)
        ]
        counts = {"seeds": pair[0]["digest"].nunique(), "images": pair[0]["case"].nunique()}
        for metric in (m for m in held_out.metrics if m.table == table):
            numbers = _difference(metric, by_class)
            if numbers is not None:
                yield {"metric": metric.name, **counts, **numbers}


def _rows(held_out: HeldOut, table: str, trials: pd.DataFrame) -> pd.DataFrame:
    """A table's rows of the sample, where ``digest`` is the seed: what the two sides share."""
    rows = held_out.rows(table, trials)
    if "reading" in rows:
        rows = rows[rows["reading"] == SAMPLE]
    seeds = dict(zip(trials["digest"], trials["seed"], strict=True))
    return rows.assign(digest=rows["digest"].astype(str).map(seeds).astype(str))


def _common(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of seeds, cases and classes that both sides have, with the same categories."""
    keys = ["digest", "case", "class"]
    text = dict.fromkeys(keys, str)
    one, other = one.astype(text), other.astype(text)
    shared = one[keys].drop_duplicates().merge(other[keys].drop_duplicates())
    kinds = {key: pd.CategoricalDtype(sorted(shared[key].unique())) for key in keys}
    return one.merge(shared).astype(kinds), other.merge(shared).astype(kinds)


def _by_class(
    one: pd.DataFrame, other: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    for name in one["class"].cat.categories:
        yield one[one["class"] == name], other[other["class"] == name]


def _difference(metric: Metric, by_class: list[tuple[Cases, Cases]]) -> dict[str, Any] | None:
    values = [_values(metric, one, other) for one, other in by_class]
    known = [(one, other) for one, other in values if not (np.isnan(one[0]) or np.isnan(other[0]))]
    if not known:
        return None
    here, there = (float(np.mean([side[i][0] for side in known])) for i in (0, 1))
    resampled = np.mean([one[1] - other[1] for one, other in known], axis=0)
    low, high = bootstrap.interval(resampled)
    return {
        "value": here,
        "value_against": there,
        "difference": here - there,
        "difference_low": float(low),
        "difference_high": float(high),
        "wilcoxon_p": None if metric.pooled else _wilcoxon(metric, by_class),
    }


def _values(
    metric: Metric, one: Cases, other: Cases
) -> tuple[tuple[float, Array], tuple[float, Array]]:
    """Both sides' values over the cases that the metric can tell something of on both."""
    if metric.pooled:
        return one.value(metric), other.value(metric)
    among = ~(np.isnan(metric.value(one.sums)) | np.isnan(metric.value(other.sums)))
    return one.value(metric, among), other.value(metric, among)


def _wilcoxon(metric: Metric, by_class: list[tuple[Cases, Cases]]) -> float | None:
    from scipy import stats  # half a second to import, which only this needs

    apart: list[pd.Series[float]] = []
    for one, other in by_class:
        difference: Array = metric.value(one.sums) - metric.value(other.sums)
        apart.append(pd.Series(difference, index=one.cases).groupby(level=0).mean())
    per_case = cast("pd.Series[float]", pd.concat(apart, axis=1).mean(axis=1)).dropna()
    if len(per_case) == 0 or not per_case.any():
        return None  # nothing differs
    return float(cast("Any", stats.wilcoxon(per_case)).pvalue)

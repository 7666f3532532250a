"""Who is best: accuracy, calibration and cost of every final arm, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator import bootstrap
from trainables.evaluate import BINS
from trainables.metrics import Array, Metric
from trainables.part import names, parse_part

if TYPE_CHECKING:
    from orchestrator.tables import Tables

COSTS = ("device_seconds", "parameters", "macs_per_pass", "peak_memory_bytes")


def metrics() -> list[Metric]:
    """All metrics with their defaults."""
    return [cast("Metric", parse_part("metrics", name)) for name in names("metrics")]


def schema() -> pa.Schema:
    """Columns of the view: three per metric (value, low, high of the 95 % interval)."""
    measured = [
        (f"{metric.name}{end}", pa.float64())
        for metric in metrics()
        for end in ("", "_low", "_high")
    ]
    keys = [(k, pa.string()) for k in ("study", "task", "arm", "model", "mode", "cell")]
    counts = [("seeds", pa.int64()), ("images", pa.int64()), ("passes_per_image", pa.int64())]
    costs = [
        ("seconds_per_image", pa.float64()),
        ("train_device_seconds", pa.float64()),
        *((c, pa.float64()) for c in COSTS),
    ]
    return pa.schema([*keys, *counts, *measured, *costs, ("settings", pa.string())])


def rows(tables: Tables) -> pa.Table:
    """One row per study and cell, over its finished final trials, on test cases only."""
    studies = cast("pd.DataFrame", tables["studies"].to_pandas())
    trials = cast("pd.DataFrame", tables["trials"].to_pandas())
    final = studies[studies["stage"] == "final"].drop(columns=["config"])
    final = final.merge(trials[trials["outcome"] == "finished"], on="digest")
    if final.empty:
        return schema().empty_table()
    digests = set(final["digest"])
    cases, calibration = (
        _of(cast("pd.DataFrame", tables[name].to_pandas()), digests)
        for name in ("cases", "calibration")
    )
    found: list[dict[str, Any]] = []
    for (study, cell), group in final.groupby(["study", "cell"], sort=False):
        mine = set(group["digest"])
        first = group.iloc[0]
        row: dict[str, Any] = {
            "study": study,
            "cell": cell,
            **{k: first[k] for k in ("task", "arm", "model", "mode", "passes_per_image")},
            "seeds": len(mine),
            "images": int(first["test_images"]),
            "seconds_per_image": float(
                (group["test_seconds"] * group["world_size"] / group["test_images"]).mean()
            ),
            "train_device_seconds": float((group["train_seconds"] * group["world_size"]).mean()),
            **{c: float(group[c].mean()) for c in COSTS},
            "settings": first["config"],
        }
        for metric in metrics():
            table = cases if metric.table == "cases" else calibration
            row |= _measured(metric, table[table["digest"].isin(mine)])
        found.append(row)
    found.sort(key=lambda r: (r["study"], r["task"], -r["dice"]))
    return pa.Table.from_pylist(found, schema=schema())


def _of(table: pd.DataFrame, digests: set[str]) -> pd.DataFrame:
    return table[table["digest"].isin(digests) & (table["split"] == "test")]


def _measured(metric: Metric, table: pd.DataFrame) -> dict[str, float]:
    """A metric and its interval: mean over classes of the mean over cases, or of the pool."""
    if table.empty:
        return {}
    per_class = [_one_class(metric, part) for _, part in table.groupby("class")]
    values = np.mean([value for value, _ in per_class])
    low, high = bootstrap.interval(np.mean([resampled for _, resampled in per_class], axis=0))
    name = metric.name
    return {name: float(values), f"{name}_low": float(low), f"{name}_high": float(high)}


def _one_class(metric: Metric, table: pd.DataFrame) -> tuple[float, Array]:
    """Value over all cases, and over each bootstrap resample of them."""
    keys, sums = case_sums(metric, table)
    counted = bootstrap.weights([digest for digest, _ in keys], [case for _, case in keys])
    if metric.pooled:
        pooled = {k: counted @ v for k, v in sums.items()}
        total = {k: v.sum(0, keepdims=True) for k, v in sums.items()}
        return float(metric.value(total)[0]), metric.value(pooled)
    values = metric.value(sums)
    return float(values.mean()), counted @ values / counted.sum(1)


def case_sums(
    metric: Metric, table: pd.DataFrame
) -> tuple[list[tuple[str, str]], dict[str, Array]]:
    """Cases as (digest, case), and their sums: [N] for ``cases``, [N, bins] for ``calibration``."""
    table = table.sort_values(["digest", "case"])
    index = pd.MultiIndex.from_frame(table[["digest", "case"]])
    codes, keys = pd.factorize(index)
    pairs = [(str(digest), str(case)) for digest, case in keys]
    if metric.table == "cases":
        return pairs, {k: table[k].to_numpy(np.float64) for k in ("tp", "fp", "fn", "tn")}
    sums: dict[str, Array] = {}
    for name in ("count", "p_sum", "y_sum", "square_sum", "nll_sum"):
        dense = np.zeros((len(pairs), BINS))
        np.add.at(dense, (codes, table["bin"].to_numpy()), table[name].to_numpy(np.float64))
        sums[name] = dense
    return pairs, sums

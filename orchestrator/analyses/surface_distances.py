"""HD95, ASSD and NSD of every held-out case, in pixels and in millimetres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.heldout.metrics import load_metrics
from trainables.distance_bins import BINS
from trainables.metrics import Array, Metric, ratio
from trainables.parsing import parse_part

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

KEYS = ("digest", "attempt", "task", "model", "mode", "schedule", "split", "case", "group", "class")
TOLERANCES = (1, 2, 5)
VALUES = ("hd95", "assd", "assd_by_area", *(f"nsd_{n}" for n in TOLERANCES))
SUMS = [
    f"{side}_{name}" for side in ("predicted", "true") for name in ("count", "distance_sum", "area")
]
AT_ONCE = 2000
"""The number of cases whose bins are held as arrays at once."""


def schema() -> pa.Schema:
    """The columns of the view."""
    keys = [(k, pa.string()) for k in (*KEYS, "unit")]
    counts = [(k, pa.int64()) for k in ("predicted_pixels", "true_pixels")]
    return pa.schema([*keys, *counts, *((k, pa.float64()) for k in VALUES)])


def rows(tables: Catalog) -> pa.Table:
    """One row per trial, held-out case, class and ``unit`` (``px`` or ``mm``), of ``surfaces``.

    ``hd95``, ``assd`` and ``nsd_N``, NSD at a tolerance of N units, count every surface pixel once.
    ``assd_by_area`` weights it with the area of its faces to the outside, which matters where the
    slices of a volume are thick. A case in which neither mask has the class has no row; where one
    mask lacks it, distances are the diagonal of the image.
    """
    bins: pd.DataFrame = cast("Any", tables["surfaces"]).to_pandas()
    if bins.empty:
        return schema().empty_table()
    key = bins.groupby([*KEYS, "unit"], sort=False, dropna=False)
    number = key.ngroup().to_numpy().astype(np.int64)
    frame = bins.loc[~bins.duplicated([*KEYS, "unit"]), [*KEYS, "unit"]].reset_index(drop=True)
    parts = [
        _values(bins, number, first, min(first + AT_ONCE, len(frame)))
        for first in range(0, len(frame), AT_ONCE)
    ]
    values = pd.concat(parts, ignore_index=True)
    found: Any = pd.concat([frame, values], axis=1)
    return pa.Table.from_pandas(found, schema=schema(), preserve_index=False)


def _values(bins: pd.DataFrame, number: NDArray[np.int64], first: int, last: int) -> pd.DataFrame:
    """Return the metrics of the cases from ``first`` up to ``last``."""
    some = (number >= first) & (number < last)
    place = (number[some] - first) * BINS + bins["bin"].to_numpy()[some]
    size = (last - first) * BINS
    sums: dict[str, Array] = {
        name: cast("Array", np.bincount(place, bins[name].to_numpy()[some], size)).reshape(-1, BINS)
        for name in SUMS
    }
    hd95, assd = load_metrics(("hd95", "assd"))
    found: dict[str, Array] = {
        f"{side}_pixels": sums[f"{side}_count"].sum(1).astype(np.int64)
        for side in ("predicted", "true")
    }
    found |= {"hd95": hd95.value(sums), "assd": assd.value(sums), "assd_by_area": _by_area(sums)}
    for tolerance in TOLERANCES:
        nsd = cast("Metric", parse_part("metrics", {"nsd": {"tolerance": float(tolerance)}}))
        found[f"nsd_{tolerance}"] = nsd.value(sums)
    return pd.DataFrame(found)


def _by_area(sums: dict[str, Array]) -> Array:
    """Return the mean distance weighted by area; the distance of a bin is its mean."""
    top, bottom = np.zeros(len(sums["true_count"])), np.zeros(len(sums["true_count"]))
    for side in ("predicted", "true"):
        mean = np.nan_to_num(ratio(sums[f"{side}_distance_sum"], sums[f"{side}_count"]))
        top += (mean * sums[f"{side}_area"]).sum(1)
        bottom += sums[f"{side}_area"].sum(1)
    return ratio(top, bottom)

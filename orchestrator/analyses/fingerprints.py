"""Timestep fingerprints: how much the image tells about the mask at each noise level, in bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator import bootstrap
from orchestrator.bootstrap import Array

if TYPE_CHECKING:
    from orchestrator.tables import Tables

CURVES = (
    "eps_error",
    "eps_error_dropped",
    "information",
    "information_orthogonal",
    "one_step_dice",
)
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "cell", "schedule", "axis", "curve")),
        *((k, pa.int64()) for k in ("seeds", "images", "bin")),
        *((k, pa.float64()) for k in ("bin_low", "bin_high", "at", "value", "low", "high")),
    ]
)


def rows(tables: Tables) -> pa.Table:
    """One row per study, cell, axis, curve and stratum, with a 95 % interval over cases.

    Curves, all per pixel: ``eps_error`` and ``eps_error_dropped``, the mean squared ε-error with
    and without the image; ``information``, half their difference, and ``information_orthogonal``,
    half the squared distance of the two estimates: nats per unit of λ turned into bits. Their
    areas over λ estimate what the image tells within the λ range that the network was trained on:
    I(mask; image) less the tails beyond it. ``one_step_dice``: of the x0 estimate with the image.
    """
    probes = finals(tables)
    if probes.empty:
        return SCHEMA.empty_table()
    found: list[dict[str, Any]] = []
    keys = ["study", "cell", "axis", "bin"]
    for (study, cell, axis, stratum), part in probes.groupby(keys):
        first = part.iloc[0]
        about = {
            **{k: first[k] for k in ("task", "schedule")},
            "study": study,
            "cell": cell,
            "axis": axis,
            "bin": stratum,
            "bin_low": first["low"],
            "bin_high": first["high"],
        }
        values, counted, at = _per_case(part, str(axis))
        seeds = int(part["digest"].nunique())
        for curve, per_case in values.items():
            mean, low, high = bootstrap.mean_interval(per_case, counted)
            numbers = {"at": at, "value": mean, "low": low, "high": high}
            found.append(
                {
                    **about,
                    "curve": curve,
                    "seeds": seeds,
                    "images": len(per_case) // seeds,
                    **{k: float(v) for k, v in numbers.items()},
                }
            )
    return pa.Table.from_pylist(found, schema=SCHEMA)


def finals(tables: Tables) -> pd.DataFrame:
    """Probe rows of finished final trials, with their study and cell."""
    studies = cast("pd.DataFrame", tables["studies"].to_pandas())
    trials = cast("pd.DataFrame", tables["trials"].to_pandas())
    final = studies.loc[studies["stage"] == "final", ["study", "cell", "digest"]]
    finished = trials.loc[trials["outcome"] == "finished", ["digest"]]
    probes = cast("pd.DataFrame", tables["probes"].to_pandas())
    return probes.merge(final, on="digest").merge(finished, on="digest")


def _per_case(part: pd.DataFrame, axis: str) -> tuple[dict[str, Array], Array, float]:
    """Curve values of each case in one stratum, their bootstrap weights, and the mean abscissa."""
    wide = part.set_index(["digest", "case", "control"]).unstack("control").sort_index()
    with_image = cast("Any", wide).xs("image", axis=1, level=1)
    dropped = cast("Any", wide).xs("dropped", axis=1, level=1)
    draws = with_image["draws"].to_numpy(np.float64)
    per_pixel = 1 / (draws * with_image["pixels"].to_numpy(np.float64))
    error = with_image["eps_error_sum"].to_numpy(np.float64) * per_pixel
    error_dropped = dropped["eps_error_sum"].to_numpy(np.float64) * per_pixel
    gap = with_image["eps_gap_sum"].to_numpy(np.float64) * per_pixel
    tp, fp, fn = (with_image[k].to_numpy(np.float64) for k in ("tp", "fp", "fn"))
    values = {
        "eps_error": error,
        "eps_error_dropped": error_dropped,
        "information": (error_dropped - error) / (2 * math.log(2)),
        "information_orthogonal": gap / (2 * math.log(2)),
        "one_step_dice": (2 * tp + 1e-9) / (2 * tp + fp + fn + 1e-9),
    }
    counted = bootstrap.weights(
        [str(digest) for digest, _ in wide.index], [str(case) for _, case in wide.index]
    )
    at = float((with_image[f"{axis}_sum"].to_numpy(np.float64) / draws).mean())
    return values, counted, at


def summaries(tables: Tables) -> list[dict[str, Any]]:
    """Per study and cell: the area under each information curve, and where half of it lies."""
    table = cast("pd.DataFrame", tables["fingerprints"].to_pandas())
    probes = finals(tables)
    found: list[dict[str, Any]] = []
    over_snr = table[(table["axis"] == "log_snr") & (table["curve"] == "information")]
    for (study, cell), part in over_snr.groupby(["study", "cell"], sort=False):
        mine = probes[(probes["study"] == study) & (probes["cell"] == cell)]
        mine = mine[mine["axis"] == "log_snr"]
        found.append(
            {
                "study": study,
                "task": part["task"].iloc[0],
                "cell": cell,
                "schedule": part["schedule"].iloc[0],
                "images": int(part["images"].iloc[0]),
                "log_snr_low": float(part["bin_low"].min()),
                "log_snr_high": float(part["bin_high"].max()),
                **_areas(mine),
            }
        )
    return found


def _areas(probes: pd.DataFrame) -> dict[str, float]:
    """Totals in bits per pixel and the half-information λ, each with its interval."""
    per_stratum = [
        (*_per_case(part, "log_snr"), float(part["high"].iloc[0] - part["low"].iloc[0]))
        for _, part in probes.groupby("bin")
    ]
    counted = per_stratum[0][1]
    edges = np.array(sorted({*probes["low"], *probes["high"]}))
    found: dict[str, float] = {}
    areas = np.empty(0)
    for curve in ("information", "information_orthogonal"):
        areas = np.stack([values[curve] * width for values, _, _, width in per_stratum], 1)
        total, low, high = bootstrap.mean_interval(areas.sum(1), counted)
        found |= {curve: float(total), f"{curve}_low": float(low), f"{curve}_high": float(high)}
    # The second estimator is never negative, so its half is well defined.
    resampled = counted @ areas / counted.sum(1, keepdims=True)
    halves = np.array([half_information(area, edges) for area in resampled])
    low, high = bootstrap.interval(halves)
    half = half_information(areas.mean(0), edges)
    return found | {"half": half, "half_low": float(low), "half_high": float(high)}


def half_information(areas: Array, edges: Array) -> float:
    """The λ below which half of the area lies: areas [bins] ≥ 0, edges [bins + 1] rising."""
    cumulative = np.concatenate([[0.0], np.cumsum(areas)])
    if cumulative[-1] <= 0:
        return math.nan
    return float(np.interp(cumulative[-1] / 2, cumulative, edges))

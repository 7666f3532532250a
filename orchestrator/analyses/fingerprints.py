"""Timestep fingerprints: how much the image tells about the mask at each noise level, in bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint.probes import CONTROLS, MEASURED, Probed, cells
from orchestrator.statistics import bootstrap

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PIXELWISE = "eps_error_pixelwise"
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "cell", "schedule", "axis", "curve")),
        *((k, pa.int64()) for k in ("seeds", "images", "groups", "bin")),
        *((k, pa.float64()) for k in ("bin_low", "bin_high", "at", "value", "low", "high")),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, cell, axis, curve and stratum, with a 95 % interval over groups or
    cases (:func:`orchestrator.statistics.bootstrap.units`).

    Curves, all per pixel: ``eps_error`` and ``eps_error_dropped``, the mean squared ε-error with
    and without the image; ``information``, half their difference, and ``information_orthogonal``,
    half the squared distance of the two estimates: nats per unit of λ turned into bits. Their
    areas over λ estimate what the image tells within the λ range that the network was trained on:
    I(mask; image) less the tails beyond it. ``one_step_dice``: of the x0 estimate with the image.

    A curve that was not measured is absent. Where they were probed, ``eps_error_shuffled_image``,
    ``_random_mask`` and ``_shuffled_mask``: the error under a control
    (:mod:`trainables.controls`). Over λ, ``eps_error_pixelwise``: that of the best denoiser that
    knows the prevalence over all these cases, and neither neighbours nor image
    (:mod:`orchestrator.fingerprint.pixelwise_bound`); absent for bits of more than two classes.
    """
    found = [row for probed in cells(tables) for part in probed.alike() for row in _rows(part)]
    found.sort(key=lambda row: [row[k] for k in ("study", "cell", "axis", "bin")])
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _rows(probed: Probed) -> Iterator[dict[str, Any]]:
    """The view's rows, of strata that have the same rows."""
    seeds = len(np.unique(probed.runs))
    counts = {"seeds": seeds, "images": len(probed.runs) // seeds}
    counts["groups"] = len(np.unique(probed.groups))
    curves = {k: probed.curves[k] for k in MEASURED}
    for control in CONTROLS:
        if (name := f"eps_error_{control}") in probed.curves:
            curves[name] = probed.curves[name]
    if probed.pixelwise is not None and probed.about["axis"] == "log_snr":
        bits = probed.pixelwise.areas(probed.low, probed.high) / (probed.high - probed.low)
        curves[PIXELWISE] = bits * 2 * math.log(2)
    curves = {name: values for name, values in curves.items() if not np.isnan(values).any()}
    numbers = bootstrap.mean_interval(np.stack(list(curves.values()), 1), probed.counted)
    at = probed.at.mean(0)
    about = {k: v for k, v in probed.about.items() if k in SCHEMA.names}
    for i, stratum in enumerate(probed.bins):
        edges = {"bin_low": float(probed.low[i]), "bin_high": float(probed.high[i])}
        place = {**about, **counts, **edges, "bin": int(stratum), "at": float(at[i])}
        for k, curve in enumerate(curves):
            value, low, high = (float(number[k, i]) for number in numbers)
            yield {**place, "curve": curve, "value": value, "low": low, "high": high}

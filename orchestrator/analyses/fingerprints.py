"""Timestep fingerprints: denoising errors and information of the image at each noise level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator.fingerprint.probe_layout import CONTROLS
from orchestrator.fingerprint.probes import MEASURED, ProbeCurves, possible, probe_curves
from orchestrator.statistics.bootstrap import Array
from orchestrator.statistics.small_samples import mean_interval

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PIXELWISE = "eps_error_pixelwise"
SCHEMA = pa.schema(
    [
        *((k, pa.string()) for k in ("study", "task", "cell", "schedule", "axis", "curve")),
        *((k, pa.int64()) for k in ("seeds", "images", "groups", "bin")),
        *((k, pa.float64()) for k in ("bin_low", "bin_high", "at", "value", "low", "high")),
        ("method", pa.string()),
    ]
)


def rows(tables: Catalog) -> pa.Table:
    """One row per study, cell, axis, curve and stratum of the noise level.

    ``axis`` is ``log_snr`` or ``t``; a stratum is the interval from ``bin_low`` to ``bin_high`` on
    it, number ``bin``, and ``at`` the mean position of the noise levels that were drawn in it.
    ``value`` is the mean of the curve over probed tiles and seeds, ``low`` and ``high`` its 95 %
    interval over groups or cases (:func:`orchestrator.statistics.bootstrap.units`) and
    seeds, and ``method`` the method of it.
    ``seeds``, ``images`` and ``groups`` count what it is computed from.

    Curves are per pixel. ``eps_error`` and ``eps_error_dropped``: the mean squared ε-error with and
    without the image. ``information``: half their difference, and ``information_orthogonal``: half
    the squared distance of the two estimates, both in bits per unit of λ; their areas over λ
    estimate I(mask; image) within the range of λ that the network was trained on.
    ``one_step_dice``: Dice of the x0-estimate with the image, in [0, 1].

    A curve that was not measured is absent. Controls that were probed add
    ``eps_error_shuffled_image``, ``eps_error_random_mask`` and ``eps_error_shuffled_mask``, the
    error under a control (:mod:`trainables.controls`). Over λ, ``eps_error_pixelwise`` is that of
    the best denoiser that sees one pixel and knows the prevalence over all these cases
    (:mod:`orchestrator.fingerprint.pixelwise_bound`); it is absent for analog bits of more than two
    classes.
    """
    found = [
        row for probe in probe_curves(tables) for part in probe.by_pattern() for row in _rows(part)
    ]
    found.sort(key=lambda row: [row[k] for k in ("study", "cell", "axis", "bin")])
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _rows(probe: ProbeCurves) -> Iterator[dict[str, Any]]:
    """The rows of strata that were measured on the same cases and runs."""
    seeds = probe.counts["seeds"]
    shared = {
        **{k: getattr(probe.final, k) for k in ("study", "task", "cell")},
        **{"schedule": probe.schedule, "axis": probe.axis, "seeds": seeds},
        **{"images": len(probe.runs) // seeds, "groups": probe.counts["groups"]},
    }
    curves = _known_curves(probe)
    numbers = mean_interval(probe.rows(np.stack(list(curves.values()), 1)))
    at = probe.at.mean(0)
    for i, stratum in enumerate(probe.bins):
        place = {
            **{"bin": int(stratum), "at": float(at[i])},
            **{"bin_low": float(probe.low[i]), "bin_high": float(probe.high[i])},
        }
        for k, curve in enumerate(curves):
            value, lower, upper = (float(number[k, i]) for number in numbers)
            low, high = np.clip([lower, upper], *possible(curve)).tolist()
            ends = {"low": low, "high": high, "method": "bootstrap-t"}
            known = {} if np.isnan(low) else ends
            yield {**shared, **place, "curve": curve, "value": value, **known}


def _known_curves(probe: ProbeCurves) -> dict[str, Array]:
    """The curves that were measured for all rows and strata."""
    names = (*MEASURED, *(f"eps_error_{control}" for control in CONTROLS))
    curves = {name: probe.curves[name] for name in names if name in probe.curves}
    if probe.pixelwise is not None and probe.axis == "log_snr":
        bits = probe.pixelwise.areas(probe.low, probe.high) / (probe.high - probe.low)
        curves[PIXELWISE] = bits * 2 * math.log(2)
    return {name: values for name, values in curves.items() if not np.isnan(values).any()}

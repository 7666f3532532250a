"""The figure that explains an adapted schedule: image information and timesteps over log-SNR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.fingerprint.adapted_schedule import INSIDE, Adapted, time_of
from orchestrator.formatting import plural
from orchestrator.report import rendering, vega
from orchestrator.report.blocks import CurveRow
from orchestrator.report.cell_names import distinct, sample_size
from orchestrator.statistics.small_samples import mean_interval

LOG_SNR = vega.quantitative("log-SNR λ, from clean to noise", reverse=True)


def schedule_figure(adapted: Adapted, schedules: Mapping[str, dict[str, Any]]) -> str:
    """Return an SVG with two panels over λ.

    The first shows the image information in bits per unit of λ with its 95 % interval, the second
    the share of timesteps per unit of λ under each schedule, stratum by stratum. ``schedules`` maps
    names to schedules in plain form.
    """
    cell = adapted.probe.final
    panels = [_information(adapted), _timesteps(adapted, schedules)]
    return rendering.svg(
        {
            "$schema": vega.SCHEMA,
            "background": "white",
            "config": vega.CONFIG,
            "title": {"text": f"{cell.task}: {cell.study} {cell.cell}"},
            "vconcat": [{**panel, "width": rendering.WIDTH} for panel in panels],
            "resolve": {"scale": {"color": "independent", "shape": "independent"}},
        }
    )


def _information(adapted: Adapted) -> vega.Spec:
    probe = adapted.probe
    curve = probe.curves["information_orthogonal"]
    estimates = mean_interval(probe.rows(curve))
    seeds = plural(probe.counts["seeds"], "seed")
    series = f"information, 95 % interval over {sample_size(probe.counts, 'tile')} and {seeds}"
    columns = zip(_midpoints(adapted), *map(np.ndarray.tolist, estimates), strict=True)
    rows: list[CurveRow] = [
        {"series": series, "at": at, "value": value, "low": low, "high": high}
        for at, value, low, high in columns
    ]
    spec = vega.curves(
        vega.styles([series]), LOG_SNR, vega.quantitative("bits per pixel and unit of λ")
    )
    subtitle = (
        f"The shaded range holds {100 * INSIDE:.0f} % of the information;"
        " half of it lies on either side of the dashed line."
    )
    return _panel(adapted, rows, spec, "Information of the image about the mask", subtitle)


def _timesteps(adapted: Adapted, schedules: Mapping[str, dict[str, Any]]) -> vega.Spec:
    edges = adapted.probe.edges
    densities: dict[str, list[float]] = {}
    for name, schedule in schedules.items():
        times = np.array([time_of(schedule, float(edge)) for edge in edges])
        densities[name] = (-np.diff(times) / np.diff(edges)).tolist()
    # Equal schedules share one line: a second line would be hidden behind the first.
    unique = {str(density): name for name, density in densities.items()}
    rows: list[CurveRow] = [
        {"series": name, "at": at, "value": value, "low": value, "high": value}
        for name in unique.values()
        for at, value in zip(_midpoints(adapted), densities[name], strict=True)
    ]
    share = vega.quantitative("share of timesteps per unit of λ")
    spec = vega.curves(vega.styles(distinct(rows)), LOG_SNR, share)
    return _panel(adapted, rows, spec, "Distribution of the timesteps under each schedule", "")


def _midpoints(adapted: Adapted) -> list[float]:
    edges = adapted.probe.edges
    return ((edges[1:] + edges[:-1]) / 2).tolist()


def _panel(
    adapted: Adapted, rows: list[CurveRow], spec: vega.Spec, title: str, subtitle: str
) -> vega.Spec:
    return {
        "data": {"values": rows},
        "height": 200,
        "layer": [_range(*adapted.log_snr), _line(adapted.half), *spec["layer"]],
        "title": {"text": title, "subtitle": subtitle, "anchor": "start"},
    }


def _range(low: float, high: float) -> vega.Spec:
    return {
        "data": {"values": [{"from": low, "to": high}]},
        "mark": {"type": "rect", "opacity": 0.1, "color": vega.INK},
        "encoding": {"x": {**LOG_SNR, "field": "from"}, "x2": {"field": "to"}},
    }


def _line(at: float) -> vega.Spec:
    return {
        "data": {"values": [{"at": at}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": vega.INK},
        "encoding": {"x": {**LOG_SNR, "field": "at"}},
    }

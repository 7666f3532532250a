"""Why a schedule was made as it was: where the information lies, and where timesteps are spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.fingerprint.adapted_schedule import INSIDE, Adapted, time_of
from orchestrator.report import rendering, vega
from orchestrator.report.naming import ordered, sized
from orchestrator.statistics import bootstrap

ACROSS = vega.number("log-SNR λ, from clean to noise", reverse=True)
HALF = "half of it lies to the right"


def picture(adapted: Adapted, schedules: Mapping[str, dict[str, Any]]) -> str:
    """As SVG, two panels over λ: bits per unit of λ with their 95 % interval, and the share of all
    timesteps per unit of λ under each schedule, in plain form, stratum by stratum.
    """
    about = adapted.probed.about
    panels = [_information(adapted), _timesteps(adapted, schedules)]
    return rendering.svg(
        {
            "$schema": vega.SCHEMA,
            "background": "white",
            "config": vega.CONFIG,
            "title": {"text": f"{about['task']}: {about['study']} {about['cell']}"},
            "vconcat": [{**panel, "width": rendering.WIDTH} for panel in panels],
            "resolve": {"scale": {"color": "independent", "shape": "independent"}},
        }
    )


def _information(adapted: Adapted) -> vega.Spec:
    probed = adapted.probed
    curve = probed.curves["information_orthogonal"]
    numbers = bootstrap.mean_interval(curve, probed.counted)
    low, high = adapted.log_snr
    counts = {
        k: len(np.unique(v)) for k, v in (("images", probed.cases), ("groups", probed.groups))
    }
    seeds = f"{len(np.unique(probed.runs))} seeds"
    rows = [
        {"series": f"information, 95 % over {sized(counts, 'tiles')} × {seeds}", "at": at}
        | dict(zip(("value", "low", "high"), each, strict=True))
        for at, *each in zip(_middles(adapted), *map(np.ndarray.tolist, numbers), strict=True)
    ]
    drawn = vega.lines(
        vega.looks([rows[0]["series"]]), ACROSS, vega.number("bits per pixel and unit of λ")
    )
    marks = [_range(low, high), _line(adapted.half)]
    said = f"shaded: {100 * INSIDE:.0f} % of it; line: {HALF}"
    return _panel(rows, [*marks, *drawn["layer"]], "Where the image tells of the mask", said)


def _timesteps(adapted: Adapted, schedules: Mapping[str, dict[str, Any]]) -> vega.Spec:
    edges = adapted.probed.edges
    densities: dict[str, list[float]] = {}
    for name, schedule in schedules.items():
        times = np.array([time_of(schedule, float(edge)) for edge in edges])
        densities[name] = (-np.diff(times) / np.diff(edges)).tolist()
    # A schedule that is there by two names has one line: the other would lie under it.
    alike = {str(density): name for name, density in densities.items()}
    rows = [
        {"series": name, "at": at, "value": value, "low": value, "high": value}
        for name in alike.values()
        for at, value in zip(_middles(adapted), densities[name], strict=True)
    ]
    drawn = vega.lines(
        vega.looks(ordered(rows)), ACROSS, vega.number("share of timesteps per unit of λ")
    )
    marks = [_range(*adapted.log_snr), _line(adapted.half)]
    return _panel(rows, [*marks, *drawn["layer"]], "Where a schedule spends its timesteps", "")


def _middles(adapted: Adapted) -> list[float]:
    edges = adapted.probed.edges
    return ((edges[1:] + edges[:-1]) / 2).tolist()


def _panel(rows: list[dict[str, Any]], layers: list[vega.Spec], title: str, said: str) -> vega.Spec:
    return {
        "data": {"values": rows},
        "height": 200,
        "layer": layers,
        "title": {"text": title, "subtitle": said, "anchor": "start"},
    }


def _range(low: float, high: float) -> vega.Spec:
    return {
        "data": {"values": [{"from": low, "to": high}]},
        "mark": {"type": "rect", "opacity": 0.1, "color": vega.INK},
        "encoding": {"x": {**ACROSS, "field": "from"}, "x2": {"field": "to"}},
    }


def _line(at: float) -> vega.Spec:
    return {
        "data": {"values": [{"at": at}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": vega.INK},
        "encoding": {"x": {**ACROSS, "field": "at"}},
    }

"""Charts as Vega-Lite specifications (https://vega.github.io/vega-lite).

One specification serves the page, where the chart is interactive, and SVG, PDF and PNG files. Text
and lines take the page's colour, so a chart suits light and dark themes and paper. Series differ by
colour and by shape or dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8609a", "#8a7000", "#7f7f7f")
"""After Okabe & Ito; each has a contrast of 3:1 or more against white and the dark page."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
DASH_NAMES = ("solid", "dashed", "dotted", "dash-dotted")
MAX_SERIES = 24
"""Series in one chart: more cannot be distinguished."""
MAX_BANDS = 8
"""Interval bands in one reliability diagram: more hide the curves."""
HIDDEN = "hidden"
"""The chart's parameter that lists the series a reader has switched off; page.js sets it."""
INK = "currentColor"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
SHAPE_MARKS = ("●", "■", "▲", "◆")
"""The first four shapes as characters, for a caption."""


SMALL_LABEL = 26
"""Characters of a label that leave enough of a small chart for the plot."""


def fits_small(labels: Iterable[str]) -> bool:
    """Return whether charts with these labels fit three in a row."""
    return max(map(len, labels), default=0) <= SMALL_LABEL


class SeriesStyle(NamedTuple):
    """The appearance of a series in all charts."""

    colour: str
    shape: str


Styles = Mapping[str, SeriesStyle]
CONFIG: Spec = {
    "font": "Arial, 'Liberation Sans', Helvetica, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), INK),
        "gridOpacity": 0.12,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 260,
        "labelSeparation": 8,
    },
    "legend": {
        **dict.fromkeys(("labelColor", "titleColor"), INK),
        "orient": "bottom",
        "columns": 2,
        "labelFontSize": 12,
        "labelLimit": 320,
        "title": None,
        "symbolType": "stroke",
        "symbolStrokeWidth": 3,
        "symbolSize": 120,
        "symbolOpacity": 1,
    },
    "header": {"labelColor": INK, "titleColor": INK},
    "text": {"color": INK},
    "rule": {"color": INK},
}


def chart(layers: Sequence[Spec], **properties: Any) -> Spec:
    """Return layers over shared data, as wide as their container; hidden series are filtered."""
    return {
        "width": "container",
        "height": 260,
        "params": [{"name": HIDDEN, "value": []}],
        "transform": [{"filter": f"indexof({HIDDEN}, datum.series) < 0"}],
        "layer": list(layers),
        **properties,
    }


def quantitative(title: str, **scale: Any) -> Spec:
    """Return a quantitative channel; ``scale`` holds Vega-Lite's properties of a scale."""
    axis: Spec = {"tickCount": 6}
    return {"type": "quantitative", "title": title, "scale": {"nice": True, **scale}, "axis": axis}


def logarithmic(title: str, values: Iterable[float], decades: float = 4) -> Spec:
    """Return a logarithmic channel; values more than ``decades`` below the largest are clamped."""
    positive = [value for value in values if value and value > 0] or [1.0]
    high = max(positive) * 1.2
    low = max(min(positive) / 1.2, high / 10**decades)
    return quantitative(title, type="log", domain=[low, high], nice=False, clamp=True)


def styles(names: Sequence[str]) -> Styles:
    """Return a colour and a shape for each name, by its position."""
    return {
        name: SeriesStyle(COLOURS[i % len(COLOURS)], SHAPES[(i + i // len(COLOURS)) % len(SHAPES)])
        for i, name in enumerate(names)
    }


def colour(series: Styles) -> Spec:
    """Return the colour channel of the series."""
    return _nominal(series, [style.colour for style in series.values()])


def shape(series: Styles) -> Spec:
    """Return the shape channel of the series, for readers who do not distinguish the colours."""
    return _nominal(series, [style.shape for style in series.values()])


def _nominal(series: Styles, values: list[str]) -> Spec:
    scale = {"domain": list(series), "range": values}
    legend = {"values": list(series)[:MAX_SERIES]}
    return {"field": "series", "type": "nominal", "scale": scale, "legend": legend}


def dash(kinds: Sequence[str]) -> Spec:
    """Return the dash channel; :data:`DASH_NAMES` are the names of its values for a caption."""
    scale = {"domain": list(kinds), "range": list(DASHES[: len(kinds)])}
    return {"field": "line", "type": "nominal", "scale": scale, "legend": None}


TEXT_FIELDS = ("series", "line", "name")


def tooltip(**titles: str) -> list[Spec]:
    """Return the tooltip's entries: the title of each field."""
    return [
        {"field": name, "title": title, **({} if name in TEXT_FIELDS else {"format": ".4~g"})}
        for name, title in titles.items()
    ]


def interval_tooltip() -> list[Spec]:
    """Return the tooltip's entries for an interval."""
    return tooltip(low="95 % interval from", high="to")


def curves(series: Styles, x: Spec, y: Spec, *, kinds: Sequence[str] = (), **rest: Any) -> Spec:
    """Return curves of ``value`` over ``at``.

    ``kinds`` are drawn with different dashes; the band from ``low`` to ``high`` is drawn for the
    first.
    """
    base: Spec = {"x": {**x, "field": "at"}, "color": colour(series)}
    band: Spec = {
        "transform": [{"filter": f"datum.line === '{kinds[0]}'"}] if kinds else [],
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {**base, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }
    hover = tooltip(series="", **({"line": ""} if kinds else {}), at=x["title"], value=y["title"])
    estimate: Spec = {
        **base,
        "y": {**y, "field": "value"},
        "tooltip": [*hover, *interval_tooltip()],
    }
    line: Spec = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {**estimate, **({"strokeDash": dash(kinds)} if kinds else {})},
    }
    marks: Spec = {
        "mark": {"type": "point", "filled": True, "size": 28, "opacity": 1},
        "encoding": {**estimate, "shape": shape(series)},
    }
    return chart([band, line, marks], **rest)


def forest(series: Styles, x: Spec, rows: int, *, zero: bool = False) -> Spec:
    """Return a forest plot: per ``name`` a point ``value`` with its interval.

    ``rows`` is the number of lines; ``zero`` draws a vertical line at zero.
    """
    y: Spec = {"field": "name", "type": "nominal", "sort": None, "title": None}
    look = {"color": {**colour(series), "legend": None}}
    hover = tooltip(name="", series="", value=x["title"])
    rule: Spec = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, **look},
    }
    marks: Spec = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
        "encoding": {
            "x": {**x, "field": "value"},
            "y": y,
            **look,
            "shape": {**shape(series), "legend": None},
            "tooltip": [*hover, *interval_tooltip(), *tooltip(images="n")],
        },
    }
    no_difference: Spec = {
        "mark": {"type": "rule", "opacity": 0.5},
        "encoding": {"x": {"datum": 0}},
    }
    layers = [*([no_difference] if zero else []), rule, marks]
    return chart(layers, height=max(44, 22 * rows))


def scatter(series: Styles, x: Spec, y: Spec) -> Spec:
    """Return one point per row, ``value`` over ``at``."""
    encoding: Spec = {
        "x": {**x, "field": "at"},
        "y": {**y, "field": "value"},
        "color": colour(series),
        "shape": shape(series),
        "tooltip": tooltip(name="", series="", at=x["title"], value=y["title"]),
    }
    mark = {"type": "point", "filled": True, "size": 70, "opacity": 1}
    return chart([{"mark": mark, "encoding": encoding}])


def pareto_front(series: Styles, x: Spec, y_title: str) -> Spec:
    """Return points with intervals, and a staircase through those with a true ``front``."""
    y = quantitative(y_title, zero=False)
    plain = scatter(series, x, y)
    at = {"x": {**x, "field": "at"}}
    stairs: Spec = {
        "transform": [{"filter": "datum.front"}],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1, "color": INK},
        "encoding": {**at, "y": {**y, "field": "value"}},
    }
    rule: Spec = {
        "mark": {"type": "rule"},
        "encoding": {
            **at,
            "y": {**y, "field": "low"},
            "y2": {"field": "high"},
            "color": colour(series),
        },
    }
    return {**plain, "height": 210, "layer": [stairs, rule, *plain["layer"]]}


def labelled_scatter(series: Styles, x_title: str, y_title: str) -> Spec:
    """Return points with their names next to them; the axes are padded for the names."""
    padded: dict[str, Any] = {"zero": False, "nice": False, "padding": 60}
    plain = scatter(series, quantitative(x_title, **padded), quantitative(y_title, **padded))
    names: Spec = {
        "mark": {"type": "text", "align": "left", "dx": 8, "dy": -6, "fontSize": 12, "color": INK},
        "encoding": {
            **{k: plain["layer"][0]["encoding"][k] for k in ("x", "y")},
            "text": {"field": "name"},
        },
    }
    return {**plain, "layer": [*plain["layer"], names]}


def reliability(series: Styles) -> Spec:
    """Return a reliability diagram with its diagonal.

    Bands are drawn for up to :data:`MAX_BANDS` series.
    """
    unit = {"domain": [0, 1]}
    x = quantitative("mean predicted probability", **unit)
    y = quantitative("observed frequency", **unit)
    spec = curves(series, x, y)
    diagonal: Spec = {
        "data": {"values": [{"d": 0}, {"d": 1}]},
        "mark": {"type": "line", "color": INK, "opacity": 0.4, "strokeDash": [4, 4]},
        "encoding": {
            axis: {"field": "d", "type": "quantitative", "scale": unit} for axis in ("x", "y")
        },
    }
    band, *others = spec["layer"]
    layers = [band, *others] if len(series) <= MAX_BANDS else others
    return {**spec, "height": 260, "layer": [*layers, diagonal]}


def with_data(spec: Spec, title: str, alt: str, rows: Sequence[Mapping[str, Any]]) -> Spec:
    """Return the complete specification, its numbers rounded to five digits and NaN as null."""
    values = [{k: _rounded(v) for k, v in row.items()} for row in rows]
    return {
        "$schema": SCHEMA,
        "description": f"{title}. {alt}",
        "background": None,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": values},
        "config": CONFIG,
        **spec,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value

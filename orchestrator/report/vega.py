"""Charts as Vega-Lite specifications (https://vega.github.io/vega-lite): one description for the
page, where they are interactive, and for SVG, PDF and PNG, which need no browser.

Text and lines take the page's own colour, so one chart is right in the dark, in the light and on
paper. Series differ by colour and by shape or dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8609a", "#8a7000", "#7f7f7f")
"""After Okabe & Ito; each at 3:1 or more against white and against the dark page."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
DASHED = ("solid", "dashed", "dotted", "dash-dotted")
MOST = 24
"""Series in one chart: more cannot be told apart."""
BANDS = 8
"""Shaded intervals in one square that can be told apart."""
PARAM = "hidden"
"""The chart's parameter that lists the series a reader has switched off."""
INK = "currentColor"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


class Look(NamedTuple):
    """How one series is drawn, wherever it is."""

    colour: str
    shape: str


Looks = Mapping[str, Look]
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


def chart(layers: Sequence[Spec], **rest: Any) -> Spec:
    """Layers over shared data, as wide as there is room; hidden series are left out of all."""
    return {
        "width": "container",
        "height": 260,
        "params": [{"name": PARAM, "value": []}],
        "transform": [{"filter": f"indexof({PARAM}, datum.series) < 0"}],
        "layer": list(layers),
        **rest,
    }


def number(title: str, **scale: Any) -> Spec:
    """A channel of numbers; ``scale`` as Vega-Lite has it."""
    axis: Spec = {"tickCount": 6}
    return {"type": "quantitative", "title": title, "scale": {"nice": True, **scale}, "axis": axis}


def logarithmic(title: str, values: Iterable[float], decades: float = 4) -> Spec:
    """A channel of positive numbers; what is further below the largest lies on the edge."""
    known = [value for value in values if value and value > 0] or [1.0]
    high = max(known) * 1.2
    low = max(min(known) / 1.2, high / 10**decades)
    return number(title, type="log", domain=[low, high], nice=False, clamp=True)


def looks(names: Sequence[str]) -> Looks:
    """A colour and a shape for each name, by its place."""
    return {
        name: Look(COLOURS[i % len(COLOURS)], SHAPES[(i + i // len(COLOURS)) % len(SHAPES)])
        for i, name in enumerate(names)
    }


def colour(series: Looks) -> Spec:
    """Series by colour."""
    scale = {"domain": list(series), "range": [look.colour for look in series.values()]}
    named = {"values": list(series)[:MOST]}
    return {"field": "series", "type": "nominal", "scale": scale, "legend": named}


def dash(values: Sequence[str]) -> Spec:
    """What a line's dash tells; :data:`DASHED` names them, for a caption."""
    scale = {"domain": list(values), "range": list(DASHES[: len(values)])}
    return {"field": "line", "type": "nominal", "scale": scale, "legend": None}


def shape(series: Looks) -> Spec:
    """Series by shape as well: colour alone is not enough for everybody."""
    scale = {"domain": list(series), "range": [look.shape for look in series.values()]}
    named = {"values": list(series)[:MOST]}
    return {"field": "series", "type": "nominal", "scale": scale, "legend": named}


def tooltip(**fields: str) -> list[Spec]:
    """What hovering shows: title by field."""
    return [
        {"field": name, "title": title, **({} if name in TEXTS else {"format": ".4~g"})}
        for name, title in fields.items()
    ]


TEXTS = ("series", "line", "name")


def lines(series: Looks, across: Spec, up: Spec, *, kinds: Sequence[str] = (), **rest: Any) -> Spec:
    """Curves ``value`` over ``at`` with the band ``low`` to ``high`` of the first kind."""
    base: Spec = {"x": {**across, "field": "at"}, "color": colour(series)}
    band_of = [{"filter": f"datum.line === '{kinds[0]}'"}] if kinds else []
    band: Spec = {
        "transform": band_of,
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {**base, "y": {**up, "field": "low"}, "y2": {"field": "high"}},
    }
    told = tooltip(
        series="", **({"line": ""} if kinds else {}), at=across["title"], value=up["title"]
    )
    told += tooltip(low="95 % from", high="to")
    curve: Spec = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {**base, "y": {**up, "field": "value"}, "tooltip": told},
    }
    if kinds:
        curve["encoding"]["strokeDash"] = dash(kinds)
    dots = {k: v for k, v in curve["encoding"].items() if k != "strokeDash"}
    marks: Spec = {
        "mark": {"type": "point", "filled": True, "size": 28, "opacity": 1},
        "encoding": {**dots, "shape": shape(series)},
    }
    return chart([band, curve, marks], **rest)


def intervals(series: Looks, across: Spec, rows: int, *, zero: bool = False) -> Spec:
    """One line per ``name``: a point ``value`` and its interval ``low`` to ``high``."""
    down: Spec = {"field": "name", "type": "nominal", "sort": None, "title": None}
    look = {"color": {**colour(series), "legend": None}}
    told = tooltip(
        name="", series="", value=across["title"], low="95 % from", high="to", images="n"
    )
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {
                "x": {**across, "field": "low"},
                "x2": {"field": "high"},
                "y": down,
                **look,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {
                "x": {**across, "field": "value"},
                "y": down,
                **look,
                "shape": {**shape(series), "legend": None},
                "tooltip": told,
            },
        },
    ]
    if zero:
        layers.insert(
            0, {"mark": {"type": "rule", "opacity": 0.5}, "encoding": {"x": {"datum": 0}}}
        )
    return chart(layers, height=max(44, 22 * rows))


def points(series: Looks, across: Spec, up: Spec) -> Spec:
    """One point per row, ``value`` over ``at``."""
    told = tooltip(name="", series="", at=across["title"], value=up["title"])
    encoding: Spec = {
        "x": {**across, "field": "at"},
        "y": {**up, "field": "value"},
        "color": colour(series),
        "shape": shape(series),
        "tooltip": told,
    }
    return chart(
        [
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": encoding,
            }
        ]
    )


def front(series: Looks, across: Spec, up: str) -> Spec:
    """Points with intervals; a line through those on the front (``front``)."""
    height = number(up, zero=False)
    plain = points(series, across, height)
    at = {"x": {**across, "field": "at"}}
    stairs: Spec = {
        "transform": [{"filter": "datum.front"}],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1, "color": INK},
        "encoding": {**at, "y": {**height, "field": "value"}},
    }
    rule: Spec = {
        "mark": {"type": "rule"},
        "encoding": {
            **at,
            "y": {**height, "field": "low"},
            "y2": {"field": "high"},
            "color": colour(series),
        },
    }
    return {**plain, "layer": [stairs, rule, *plain["layer"]]}


def labelled(series: Looks, across: str, up: str) -> Spec:
    """Points with their names beside them, which need room."""
    room: dict[str, Any] = {"zero": False, "nice": False, "padding": 60}
    plain = points(series, number(across, **room), number(up, **room))
    words: Spec = {
        "mark": {"type": "text", "align": "left", "dx": 8, "dy": -6, "fontSize": 12, "color": INK},
        "encoding": {
            **{k: plain["layer"][0]["encoding"][k] for k in ("x", "y")},
            "text": {"field": "name"},
        },
    }
    return {**plain, "layer": [*plain["layer"], words]}


def reliability(series: Looks) -> Spec:
    """Curves over a diagonal in the unit square; bands of up to :data:`BANDS`, more hide curves."""
    square = {"domain": [0, 1]}
    curves = lines(
        series, number("probability given", **square), number("share that is so", **square)
    )
    diagonal: Spec = {
        "data": {"values": [{"d": 0}, {"d": 1}]},
        "mark": {"type": "line", "color": INK, "opacity": 0.4, "strokeDash": [4, 4]},
        "encoding": {
            axis: {"field": "d", "type": "quantitative", "scale": square} for axis in ("x", "y")
        },
    }
    bands, *others = curves["layer"]
    layers = [bands, *others] if len(series) <= BANDS else others
    return {**curves, "height": 320, "layer": [*layers, diagonal]}


def with_data(spec: Spec, title: str, alt: str, rows: Sequence[Mapping[str, Any]]) -> Spec:
    """The whole of it: numbers rounded to what a picture shows, no NaN, the theme."""
    values = [{k: _plain(v) for k, v in row.items()} for row in rows]
    return {
        "$schema": SCHEMA,
        "description": f"{title}. {alt}",
        "background": None,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": values},
        "config": CONFIG,
        **spec,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
